"""The discriminator of the autoencoder's adversarial loss: a stack over packed pixel patches.

Its loss has one value for each token, B L; the caller weights and sums them.
"""

from collections.abc import Callable

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
NAME = "discriminator"  # the key of its parameters in a run's parameters


class Discriminator(nnx.Module):
    """Tells real from reconstructed patches: a logit for each token, above 0 if it looks real."""

    def __init__(
        self, values: int, shape: StackShape, compute: ComputeConfig, *, rngs: nnx.Rngs
    ) -> None:
        """`values`: numbers in a patch."""
        self.head_size = shape.head_size
        self.embed = Dense(values, shape.width, (None, "embed"), rngs=rngs, bias=True)
        self.stack = Stack(shape, compute, rngs=rngs)
        self.head = Dense(shape.width, 1, ("embed", None), rngs=rngs, bias=True)

    def __call__(self, pixels: jax.Array, cells: Cells, most: int | None = None) -> jax.Array:
        """Pixels B L P to logits, float32 B L. `most`: see nn/segments.py:Segments."""
        rotary = video_rotary(cells.positions, self.head_size)
        h = self.embed(pixels, "batch", "length", "act_embed")
        h = self.stack(h, Conditions(rotary, Segments(cells.segment_ids, most=most)))
        # This scale keeps a step of Adam from moving a logit far.
        h = layer_norm(h) * h.shape[-1] ** -0.5
        return self.head(h, "batch", "length", None)[..., 0].astype(jnp.float32)


def make_discriminator(
    size: str, values: int, compute: ComputeConfig
) -> tuple[Callable[..., dict], Callable[..., jax.Array]]:
    """(init, apply) of the discriminator, see nn/functional.py:functional.

    `values`: numbers in a patch. Raises ConfigError for an unknown size.
    """
    shape = lookup("losses.discriminator", size, SIZES)
    return functional(
        lambda rngs: Discriminator(values, shape, compute, rngs=rngs), compute.dtype, compute.gather
    )


def without_discriminator(params: dict) -> dict:
    """A run's parameters without the discriminator's."""
    return {name: part for name, part in params.items() if name != NAME}


def hinge(real: jax.Array, fake: jax.Array) -> jax.Array:
    """The hinge loss of the discriminator (arXiv:1705.02894), for each token.

    `real`, `fake`: logits of real and of reconstructed tokens, of equal shape.
    """
    return (jax.nn.relu(1 - real) + jax.nn.relu(1 + fake)) / 2
