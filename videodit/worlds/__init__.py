"""Worlds: captioned clips rendered from a known state (the simulators are the extra [worlds])."""
