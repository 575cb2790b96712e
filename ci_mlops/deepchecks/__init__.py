"""Deepchecks in an environment of its own, as one command with an explicit list of checks."""
