"""Survival: a world of tiles seen from above, played by an agent (Crafter)."""
