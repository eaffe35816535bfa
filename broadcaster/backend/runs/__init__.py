"""Runs in Redis: `queue` is for workers, `requester` for nodes, and `records` for both.

`run` is what a worker answers with, and `outbox` writes the texts of all of its runs together.
"""
