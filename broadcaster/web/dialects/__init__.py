"""Dialects: how a client says what it wants. Each turns a request's head into a `Wanted`."""
