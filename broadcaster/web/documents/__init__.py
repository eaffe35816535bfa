"""Documents that tools and people read: OpenAPI, AsyncAPI, and a page made of the former.

They are made of the table of routes, of the channels that the caller may see, and of the names in
`core.wire`. Each row of the table has an `Operation`, which says what the route is for.
"""
