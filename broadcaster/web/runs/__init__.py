"""Runs over HTTP: clients begin and stop them, follow them, and get them in formats of others."""
