"""Layers: one block, one attention function, one stack."""
