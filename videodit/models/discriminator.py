"""The discriminator of the autoencoder's adversarial loss: a stack over packed pixel patches.

Its losses are values at tokens, B L, which a token's weight multiplies.
"""

import jax
import jax.numpy as jnp
from flax import nnx

from videodit.config import ComputeConfig
from videodit.models.autoencoder import Cells
from videodit.models.sizes import lookup
from videodit.nn.block import Conditions, Stack, StackShape
from videodit.nn.functional import functional
from videodit.nn.layers import Dense, layer_norm
from videodit.nn.rope import video_rotary
from videodit.nn.segments import Segments

SIZES = {
    "smoke": StackShape(depth=1, width=32, heads=4, head_size=8, mlp=64),
    "demo": StackShape(depth=2, width=160, heads=2, head_size=80, mlp=640),
    "S": StackShape(depth=6, width=384, heads=8, head_size=64, mlp=1536),
    "B": StackShape(depth=8, width=768, heads=8, head_size=128, mlp=3072),
}
NAME = "discriminator"  # of its parameters among those of a run


class Discriminator(nnx.Module):
    """Pixels B L P to a logit a token, B L float32: above 0 where they look real."""

    def __init__(self, values: int, shape: StackShape, compute: ComputeConfig, *, rngs):
        self.head_size = shape.head_size
        self.embed = Dense(values, shape.width, (None, "embed"), rngs=rngs, bias=True)
        self.stack = Stack(shape, compute, rngs=rngs)
        self.head = Dense(shape.width, 1, ("embed", None), rngs=rngs, bias=True)

    def __call__(self, pixels: jax.Array, cells: Cells, most: int | None = None) -> jax.Array:
        """most: see nn/segments.py:Segments."""
        rotary = video_rotary(cells.positions, self.head_size)
        h = self.embed(pixels, "batch", "length", "act_embed")
        h = self.stack(h, Conditions(rotary, Segments(cells.segment_ids, most=most)))
        # Scaled so that one step of Adam moves a logit by little.
        h = layer_norm(h) * h.shape[-1] ** -0.5
        return self.head(h, "batch", "length", None)[..., 0].astype(jnp.float32)


def make_discriminator(size: str, values: int, compute: ComputeConfig):
    """`functional` (init, apply) of the discriminator of patches of `values` numbers."""
    shape = lookup("losses.discriminator", size, SIZES)
    return functional(
        lambda rngs: Discriminator(values, shape, compute, rngs=rngs), compute.dtype, compute.gather
    )


def without_discriminator(params: dict) -> dict:
    """What of a run's parameters is averaged and read by others: all but the discriminator."""
    return {name: part for name, part in params.items() if name != NAME}


def hinge(real, fake):
    """The discriminator's loss at logits of real and of reconstructed tokens (arXiv:1705.02894)."""
    return (jax.nn.relu(1 - real) + jax.nn.relu(1 + fake)) / 2
