"""Readers of weights that others trained; no command uses them yet."""
