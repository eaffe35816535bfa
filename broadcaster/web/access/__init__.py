"""Asks policies, verifiers and issuers of tickets about requests.

Nothing here is called while the policy is `public`.
"""
