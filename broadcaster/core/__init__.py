"""What the hub decides: pure data and functions. No `await`, no clock, no I/O.

Read in this order: `event`, `codec`, `sse`, `entry`, `cursor`, `window`, `channel`, `subscription`,
`audience`, `page`, `hub`.
"""
