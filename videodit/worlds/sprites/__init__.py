"""Sprites: flat shapes that move on a plain background. numpy only."""
