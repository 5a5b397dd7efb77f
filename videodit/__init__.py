"""videodit: pretrain Sora-like text-to-video models in JAX, from raw video to samples."""
