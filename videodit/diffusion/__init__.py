"""Rectified flow and its samplers; takes callables, imports no model."""
