"""Our text encoder: packed captions to one vector a text token, trained jointly with the DiT."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from videodit.config import ComputeConfig, TextConfig
from videodit.data.tokenizer import Tokenizer
from videodit.flops import StackRun, all_pairs
from videodit.models.protocols import TextEncoder
from videodit.models.sizes import lookup
from videodit.nn.block import Conditions, Stack, StackShape
from videodit.nn.functional import functional
from videodit.nn.layers import Dense, layer_norm
from videodit.nn.rope import rotary
from videodit.nn.segments import Segments
from videodit.parameters import Params

SIZES = {
    # Vectors of words and their positions alone: for tiny models, which see few captions.
    "words": StackShape(depth=0, width=128, heads=2, head_size=64, mlp=512),
    "smoke": StackShape(depth=1, width=32, heads=4, head_size=8, mlp=64),
    "demo": StackShape(depth=2, width=128, heads=2, head_size=64, mlp=512),
    "S": StackShape(depth=6, width=384, heads=8, head_size=64, mlp=1536),
    "B": StackShape(depth=12, width=768, heads=8, head_size=128, mlp=3072),
    "L": StackShape(depth=24, width=1024, heads=8, head_size=128, mlp=4096),
    "XL": StackShape(depth=24, width=2048, heads=16, head_size=128, mlp=5120),
}


class TextTransformer(nnx.Module):
    """Token embedding, then a stack over the packed captions; attention both ways.

    The stack knows positions by rotation. Without one they are sinusoids that are added
    (arXiv:1706.03762).
    """

    def __init__(
        self, vocabulary: int, shape: StackShape, compute: ComputeConfig, *, rngs: nnx.Rngs
    ) -> None:
        self.vocabulary, self.head_size = vocabulary, shape.head_size
        self.embed = Dense(
            vocabulary, shape.width, (None, "embed"), rngs=rngs, init=nnx.initializers.normal(1.0)
        )
        self.stack = Stack(shape, compute, rngs=rngs) if shape.depth else None

    def __call__(self, tokens: jax.Array, positions: jax.Array, segments: Segments) -> jax.Array:
        """tokens, positions, and the ids of segments: B S int32 -> B S E in the compute dtype.

        The embedding is a one-hot matmul: the transpose of a lookup would be a scatter.
        """
        one_hot = jax.nn.one_hot(tokens, self.vocabulary, dtype=self.embed.kernel[...].dtype)
        x = self.embed(one_hot, "batch", "length", "act_embed")
        places = positions[..., None].astype(jnp.float32)
        if self.stack is None:
            x = x + jnp.concatenate(rotary(places, x.shape[-1]), axis=-1)
        else:
            x = self.stack(x, Conditions(rotary(places, self.head_size), segments))
        return layer_norm(x).astype(one_hot.dtype)


class JointTextEncoder(TextEncoder):
    """A `TextTransformer` of the configured size, trained with the DiT."""

    def __init__(self, cfg: TextConfig, tokenizer: Tokenizer, compute: ComputeConfig) -> None:
        self.tokenizer, self._shape = tokenizer, self.shapes(cfg)[0]
        self.width = self._shape.width
        self._init, self._apply = functional(
            lambda rngs: TextTransformer(tokenizer.vocab_size, self._shape, compute, rngs=rngs),
            compute.dtype,
            compute.gather,
        )

    @staticmethod
    def shapes(cfg: TextConfig) -> tuple[StackShape, ...]:
        return (lookup("text.size", cfg.size, SIZES),)

    def init(self, key: jax.Array) -> Params:
        return self._init(key)

    def encode(
        self, params: Params, ids: jax.Array, positions: jax.Array, segments: Segments
    ) -> jax.Array:
        return self._apply(params, ids, positions, segments)

    def stacks(self, text: np.ndarray, remat: str) -> list[StackRun]:
        run = StackRun(self._shape, text, all_pairs(text), remat)
        return [run] if self._shape.depth else []
