"""Benchmarks, as commands. They are not installed with the package, and need Linux.

`python -m bench` runs the workloads (`fanout`, `arrivals`, `costs`) against the servers
(`servers`). These are the hub, its peers, and the floor, which only calls `socket.send`. Servers
and clients (`load`) run in processes of their own. `measure` takes the figures, and `report` and
`plots` write them to files. `python -m bench.reads` measures many nodes with one Redis.
"""
