"""From raw video to packed batches; numpy and grain, only loader.py knows jax."""
