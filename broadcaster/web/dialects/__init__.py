"""Dialects: how a client says what it wants. Each reads a request's head into a `Wanted`."""
