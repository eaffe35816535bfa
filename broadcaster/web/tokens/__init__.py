"""Verifies the tokens of clients, and issues tickets, which stand for tokens in urls."""
