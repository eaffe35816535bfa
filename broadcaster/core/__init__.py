"""What the hub decides: pure data and functions. No `await`, no clock, no I/O.

Read in this order: `event`, `sse`, `entry`, `cursor`, `window`, `channel`, `subscription`,
`audience`, `page`, `hub`.
"""
