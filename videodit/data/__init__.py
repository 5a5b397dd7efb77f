"""From stored clips to packed batches, in numpy and grain; only loader.py imports jax."""
