"""Answers that survive: the output of a model as runs, for applications in FastAPI or Starlette."""
