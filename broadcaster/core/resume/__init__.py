"""Decides where a client begins, goes on, is reset, and is over: the rule of resuming. Pure.

`rules` has the rule as tables. `opening` is the step machine before the first byte. `machine` is
the one of a subscriber that catches up. Its parts are `inquiry`, which keeps what is known about
each stream, and `joining`, `keyed` and `passing`, which send states. `steps` has the values that
the machines return. `core.fanout.driver` takes these steps for all kinds of subscribers.
"""
