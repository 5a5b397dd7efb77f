"""Noise levels: which ones a clip is trained at, and the sampler's way through them.

  (1)  t = sigmoid(m + s n),  n ~ N(0, 1)               logit-normal levels (arXiv:2403.03206)
  (2)  t' = a t / (1 + (a - 1) t),  a = sqrt(n / n_0)   shift to more noise for n tokens (ibid.)

The levels at which a caption can help are few and high: below them the noisy clip tells everything
itself. n_0 = flow.shift_tokens is small enough to train them. Then few clips are left for the low
levels, where fine texture is learned: a share of the clips, flow.fine_share, has a larger n_0.
"""

import jax
import jax.numpy as jnp

from videodit.config import FlowConfig
from videodit.diffusion.flow import per_sample

BISECTIONS = 24  # to 6e-8, the precision of float32


def shift(level: jax.Array, tokens: jax.Array, base_tokens: int) -> jax.Array:
    """Equation (2): the level of a clip of `tokens` tokens whose unshifted level is `level`."""
    alpha = jnp.sqrt(jnp.maximum(tokens, 1) / base_tokens)
    return alpha * level / (1 + (alpha - 1) * level)


def unshift(level: jax.Array, tokens: jax.Array, base_tokens: int) -> jax.Array:
    """The inverse of `shift`."""
    alpha = jnp.sqrt(jnp.maximum(tokens, 1) / base_tokens)
    return level / (alpha - (alpha - 1) * level)


def clip_levels(
    key: jax.Array, sample_ids: jax.Array, tokens: jax.Array, cfg: FlowConfig
) -> jax.Array:
    """A level to train each clip at: equations (1) and (2).

    sample_ids: B M uint32, tokens: B M tokens of each clip. Returns B M float32 in (0, 1).
    """
    normal = per_sample(key, sample_ids, lambda k: jax.random.normal(k))
    level = jax.nn.sigmoid(cfg.logit_mean + cfg.logit_std * normal)
    coarse = shift(level, tokens, cfg.shift_tokens)
    if not cfg.fine_share:
        return coarse
    draw = lambda k: jax.random.bernoulli(jax.random.fold_in(k, 1), cfg.fine_share)
    fine = per_sample(key, sample_ids, draw)
    return jnp.where(fine, shift(level, tokens, cfg.fine_shift_tokens), coarse)


def sampling_level(share: jax.Array, tokens: jax.Array, cfg: FlowConfig) -> jax.Array:
    """The level of a sampler at `share` of its way, 1 at the start and 0 at the end.

    It is the quantile of the levels that equation (2) makes of uniform ones, in the mixture that is
    trained: so a sampler steps where training looked. share: scalar in [0, 1]; tokens: B M. Returns
    B M float32.
    """
    coarse = shift(share, tokens, cfg.shift_tokens)
    if not cfg.fine_share:
        return coarse
    fine = shift(share, tokens, cfg.fine_shift_tokens)

    def below(level: jax.Array) -> jax.Array:
        """The share of the mixture's levels below `level`."""
        of_coarse = unshift(level, tokens, cfg.shift_tokens)
        of_fine = unshift(level, tokens, cfg.fine_shift_tokens)
        return (1 - cfg.fine_share) * of_coarse + cfg.fine_share * of_fine

    def halve(_: int, bounds: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        low, high = bounds
        middle = (low + high) / 2
        too_low = below(middle) < share
        return jnp.where(too_low, middle, low), jnp.where(too_low, high, middle)

    bounds = jnp.minimum(coarse, fine), jnp.maximum(coarse, fine)
    low, high = jax.lax.fori_loop(0, BISECTIONS, halve, bounds)
    return jnp.where(share < 1, jnp.where(share > 0, (low + high) / 2, 0.0), 1.0)
