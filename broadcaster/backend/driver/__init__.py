"""redis-py made fit for us: urls, connections, Cluster, Sentinel, and one notion of trouble.

What is decided here: timeouts, retries, the protocol, and which errors pass. It knows nothing of
events. Its face is `connect`, `exchange`, `replies` and `errors`; the rest are its own parts.
"""
