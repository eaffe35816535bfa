"""uvicorn made fit for event streams: the two modules that know its insides."""
