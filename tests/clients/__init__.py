"""Real clients that we did not write, against real nodes."""
