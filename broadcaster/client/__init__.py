"""The Python client. It reads any event stream on the web, and resumes."""
