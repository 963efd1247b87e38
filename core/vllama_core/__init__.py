"""What vllama knows without touching the world: names, configuration, file headers, errors. Pure: no I/O, no client library."""
