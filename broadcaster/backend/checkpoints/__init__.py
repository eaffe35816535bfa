"""Checkpoints in Redis: `flush` writes the state of a stream, `checkpoint` and `moving` read it."""
