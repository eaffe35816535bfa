"""Adapts redis-py: urls, connections, Cluster, Sentinel, and one notion of "Redis is away".

This room decides timeouts, retries, the protocol, and which errors pass. It knows nothing of
events. Other rooms use `connect`, `exchange`, `replies` and `errors`; the rest are its own parts.
"""
