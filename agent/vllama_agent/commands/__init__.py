"""One module per command, each with `add_arguments(parser)` and `run(options, environment) -> exit status`."""
