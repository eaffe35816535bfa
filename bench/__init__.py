"""Measurements: commands, not tests. Nothing here is installed with the package. Linux only.

`python -m bench` runs the workloads (`workloads`, `arrivals`, `costs`) against the servers
(`servers`: ours, its peers, and the floor, which is nothing but `socket.send`). Each server is a
process of its own, and so are the clients (`load`). `measure` takes the figures, `report` and
`plots` write them down. `python -m bench.reads` is for many nodes and one Redis.
"""
