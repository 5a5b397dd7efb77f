"""A textured scene in three dimensions, seen by a camera that moves (Panda3D)."""
