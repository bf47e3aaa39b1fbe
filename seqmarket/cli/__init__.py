"""The command line: composes a configuration, calls a verb, reports mistakes."""
