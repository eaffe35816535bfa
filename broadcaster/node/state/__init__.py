"""States at run time: nodes restore the states of streams, and a folder writes checkpoints."""
