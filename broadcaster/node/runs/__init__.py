"""The runs of a node's clients, which begin with the GET of an event stream, or with a POST."""
