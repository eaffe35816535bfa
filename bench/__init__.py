"""Measurements: commands, not tests. Nothing here is installed with the package.

`fanout` is the command; `load` and `floor` are the processes around the one that is measured,
which `node` runs.
"""
