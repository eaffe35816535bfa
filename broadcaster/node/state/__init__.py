"""The states of a node's streams: restored, kept, and written to checkpoints by a folder."""
