"""The commands, one module each. `main` declares their names and options."""
