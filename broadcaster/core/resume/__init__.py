"""Where a client begins, goes on, is reset, and is over: the rule that is the product. Pure.

`rules` is the rule as tables. `opening` is the machine before the first byte, and `machine` the one
of a subscriber that catches up: `joining`, `keyed` and `passing` are parts of it, which send
states. `steps` are the values that come out, and `inquiry` keeps what is known about each stream.
`core.driver` takes the steps for whatever sends what they have.
"""
