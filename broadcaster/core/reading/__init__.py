"""Events and states as values and JSON, for readers that hold no event stream. Pure."""
