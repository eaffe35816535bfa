"""Redis: clients, publishing, tailing, replaying, an embedded server. The only importer of redis.

`web` and `backend` never import each other; `app` joins them.
"""
