"""JSON as producers send it and as clients get it: its text stays as it was sent. Pure."""
