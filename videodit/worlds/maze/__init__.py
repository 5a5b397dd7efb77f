"""Maze: first person in a hall with things and a door (ViZDoom)."""
