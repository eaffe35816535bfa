"""The Python client: reads any event stream on the web, and resumes. It imports only `errors`."""
