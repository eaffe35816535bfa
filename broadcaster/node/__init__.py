"""What one running node consists of: it joins `backend` and `web` through `core`."""
