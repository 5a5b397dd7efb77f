"""Rooms: missions in rooms of tiles, seen from above (MiniGrid, BabyAI)."""
