"""The state of a channel: the newest values that its events add up to, and their bytes. Pure.

A `fold` makes the state of one stream by the rules in `values`. `states` has the folds of a hub.
`checkpoint` is the form that a state has in Redis, and `passes` is what a slow client gets of it.
"""
