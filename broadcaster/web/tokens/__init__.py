"""Tokens of clients: who signed them, where a request has them, and tickets that stand for them."""
