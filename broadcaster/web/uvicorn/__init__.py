"""uvicorn made fit for event streams: the two modules that know its insides."""

BACKLOG = 4096
"""Connections that the kernel holds until they are accepted: a herd comes at once."""
