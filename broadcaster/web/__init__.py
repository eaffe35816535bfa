"""HTTP: routes, the event stream endpoint, sinks. The only importer of starlette and uvicorn."""
