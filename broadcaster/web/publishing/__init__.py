"""Publishing over HTTP: one body of events or lines without end, permitted, checked and written."""
