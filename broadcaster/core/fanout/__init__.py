"""Writes what happens to live clients: subscribers, their audiences, and the one hot loop. Pure.

The `hub` is where the parts meet: a batch of a window goes to each `audience` once, as bytes, by
`writes`. A `driver` takes the steps of `core.resume` for one `subscriber` that catches up.
"""
