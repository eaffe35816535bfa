"""The promise of no silent gap, tested with real servers, real faults and a checker.

    python -m tests.chaos [--quick] [--seed N] [--only 2,5] [--keep DIR]

A *producer* logs each `XADD` and its reply in a *ledger*. A change of a stream's history, such as
a failover that loses the end or a `DEL`, is a *cut* in the ledger. Many *clients*, in a process of
their own, log every block, connect and disconnect. A *chain* is the log of one client across its
connections. At the end the streams are read from Redis. Then the *checker* compares each chain with
the ledger and the streams.

| finding | means |
|---|---|
| lost | the client's position went past an event of its subscription that it did not get |
| duplicate | an event at or before the client's position that was not missing before |
| reordered | an event that was missing came later, or the position went back |
| phantom | it was never added, or it was lost and the client went on without a reset |
| leaked | an event outside of the client's subscription |
| corrupt | data or type differ from what was published under the id |
| fatal | a response that ends an `EventSource` for good, or is not HTTP |
| wrong | what a client has of a state is not what the events after its `since` add up to |

Every `id:` claims that all events up to it were sent. Continuity begins at a chain's first id. This
is usually the id of the first block, which has no data. A reset of a stream excuses missing events
between the position and `resumed`. It lets ids go back to `resumed`, and says that earlier events
may be lost. Events that Redis trimmed must be delivered or covered by a reset. Events that Redis
lost need not. They are gone in the *era* after a cut. A chain that is `complete` must reach the
last event of its subscription.

A channel may have a *state*. A client keeps what it is sent of it, and forgets everything at
`stream.state`. At each `stream.live` and in the end, `values` compares what it has with a fold of
the ledger.

Read in this order: `history`, `checker`, `folds`, `values`, `sse`, `load`, `producer`, `stage`,
`attack`, `scenarios`.
"""
