"""Rules that mend a validated log: set by configuration, applied in order, each one counted."""
