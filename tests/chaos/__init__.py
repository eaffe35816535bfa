"""No silent gap, put to the test: real servers, real faults, and a checker that misses nothing.

    python -m tests.chaos [--quick] [--seed N] [--only 2,5] [--keep DIR]

A *producer* logs each `XADD` and its answer in a *ledger*; what scenarios do to a stream's history
(a failover that loses the end, `DEL`) is a *cut* in it. Many *clients* in a process of their own
log every block that they get, and every connect and disconnect: a *chain* is all that one client
saw, across its connections. At the end the streams are read from Redis, and the *checker* holds
each chain against ledger and streams:

| finding | means |
|---|---|
| lost | the client's position went past an event of its subscription that it did not get |
| duplicate | an event at or before the client's position, and not one that was passed over |
| reordered | an event that had been passed over came later, or the position went back |
| phantom | nobody has added it; or it is gone, and the client went on without a reset |
| leaked | an event outside of the client's subscription |
| corrupt | data or type differ from what was published under the id |
| fatal | an answer that ends an `EventSource` for good, or is no HTTP |

Every `id:` is a claim: "all up to here was sent". Continuity begins at a chain's first id, usually
that of the first block, which has no data. A reset of a stream forgives what lies between the
position and `resumed`, lets ids go back to it, and announces that what was seen may be gone. What
Redis trims must have been delivered or covered by a reset; what it lost (gone in the *era* after a
cut) need not. A chain that is `complete` must reach the last event of its subscription.

Read in this order: `history`, `checker`, `sse`, `load`, `producer`, `stage`, `scenarios`.
"""
