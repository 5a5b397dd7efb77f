"""Flat coloured shapes that move, meet, hide one another and paint."""
