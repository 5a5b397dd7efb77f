"""Measures of quality and the closed-form baselines that they stand beside."""
