"""What the hub decides: pure data and functions. No `await`, no clock, no I/O.

Read in this order: `event`, `codec`, `sse`, `cursor`, `window`, `channel`, `subscription`, `hub`.
"""
