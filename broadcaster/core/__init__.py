"""The decisions of the hub, as pure data and functions: no `await`, no clock, no I/O.

Read the modules in this order: `event`, `sse`, `entry`, `cursor`, `window`, `channel`,
`subscription`, `audience`, `page`, then the room `resume`, and `hub`.
"""
