"""Stacks of the one block: autoencoder, text encoder, diffusion transformer."""
