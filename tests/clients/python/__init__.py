"""Drivers of Python's clients, one module for each."""
