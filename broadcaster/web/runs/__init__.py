"""Runs over HTTP: begun, followed by their ids, and in the vocabulary of other protocols."""
