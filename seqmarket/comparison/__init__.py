"""Runs held side by side: what changed, whether the difference is real, and on whom it holds."""
