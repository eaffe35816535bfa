"""The commands: one module each. `main` says what they are called and what they take."""
