"""Runs: what is recorded of an answer to a request, and which of a node's runs still wait. Pure."""
