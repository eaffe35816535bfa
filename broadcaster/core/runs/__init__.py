"""Records of runs, and the runs of a node's clients that no worker has yet. Pure."""
