"""A player in a world of tiles: chops, digs, builds, drinks, sleeps (Crafter)."""
