"""Measures, closed-form baselines and the reports made of them."""
