"""Publishes events to Redis.

`publisher` and `sync_publisher` add each event with one `XADD`, `idempotency` adds it once per
idempotency key, and `transaction` adds it together with a caller's own state. All of them get their
commands from `outgoing`.
"""
