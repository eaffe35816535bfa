"""Runs in Redis: `queue` is for workers, `requester` for nodes, and `records` for both.

A worker answers through a `run`, `worker` has its tasks, and `outbox` writes the texts of all of
its runs together, at the times of `moments`.
"""
