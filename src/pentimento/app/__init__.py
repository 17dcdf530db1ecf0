"""The ways in: command line, and later the service and the studio."""
