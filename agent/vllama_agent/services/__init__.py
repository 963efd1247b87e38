"""The agent as a service of the person who is logged in: a launchd agent on a Mac, a systemd user unit on Linux."""
