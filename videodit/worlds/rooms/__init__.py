"""Missions in rooms of tiles, solved step by step (BabyAI, MiniGrid)."""
