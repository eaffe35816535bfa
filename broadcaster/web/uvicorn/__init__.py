"""uvicorn for event streams. No other package knows uvicorn's internals."""

BACKLOG = 4096
"""Connections that the kernel queues until they are accepted, because a herd comes at once."""
