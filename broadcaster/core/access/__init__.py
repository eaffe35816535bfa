"""Who may read and publish: tokens, rights, grants, and what each owner may use at once. Pure.

`policy` has the question that a policy answers, and its answers. The other modules are what
policies and nodes are made of. This room knows channels by their names, and nothing of streams.
"""
