"""Redis: clients, publishing, tailing, replaying, an embedded server. Only this room imports redis.

`web` and `backend` never import each other. `node` and `app` join them.
"""
