"""The packing plan: which clips lie in which row at which step, from the catalog alone."""
