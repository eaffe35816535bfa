"""Publishes events to Redis: with one `XADD` each, once per key, or in a caller's transaction."""
