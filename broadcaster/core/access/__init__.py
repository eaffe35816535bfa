"""Access: tokens, rights and grants, and the number of streams that each owner has. Pure.

`policy` has the question that a policy answers, and its decisions. The other modules are parts of
policies and of nodes. This room knows channels by their names, and nothing of streams.
"""
