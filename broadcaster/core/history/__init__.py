"""What a node has of a stream: its newest frames, and what it knows to be lost. Pure."""
