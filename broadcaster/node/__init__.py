"""One running node: its tasks, health and metrics. It joins `backend` and `web` through `core`."""
