"""A hall in the first person: walk, look away and back, open the door (ViZDoom)."""
