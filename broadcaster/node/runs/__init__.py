"""The runs of a node's clients: those that a stream requests, and those that a POST begins."""
