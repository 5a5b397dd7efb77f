"""Rectified flow (arXiv:2209.03003) on packed tokens. t is the noise level: 0 data, 1 noise.

  (1)  x_t = (1 - t) x_0 + t e,  e ~ N(0, 1)            the path
  (2)  v = e - x_0                                      its velocity, what the model predicts
  (3)  E[v | x_t] = U g U' x_t,                         the best linear predictor of v, where the
       g = (t - (1-t) r) / ((1-t)^2 r + t^2)            latents have the covariance U r U'

What is random is a function of (key, sample id, token position): not of the row that a clip was
packed into, of the mesh or of the hosts.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from videodit.sharding import spec


def interpolate(x0: jax.Array, noise: jax.Array, level: jax.Array) -> jax.Array:
    """Equation (1). level is broadcast against x0, which may hold any token values."""
    return (1 - level) * x0 + level * noise


def velocity(x0: jax.Array, noise: jax.Array) -> jax.Array:
    """Equation (2)."""
    return noise - x0


def linear_velocity(
    xt: jax.Array, level: jax.Array, variances: jax.Array, vectors: jax.Array
) -> jax.Array:
    """Equation (3). A model adds its output to it (preconditioning, as arXiv:2206.00364).

    It follows from Cov(v, x_t) = t I - (1-t) R and Cov(x_t) = (1-t)^2 R + t^2 I, solved in the
    eigenbasis of R. xt: B L C, level: B L 1, variances: C, vectors: C C, of latents with zero mean,
    as `numpy.linalg.eigh` gives them. Returns B L C.
    """
    gain = (level - (1 - level) * variances) / ((1 - level) ** 2 * variances + level**2 + 1e-12)
    code = jnp.einsum("blc,ce->ble", xt, vectors, precision="highest")
    return jnp.einsum("ble,ce->blc", gain * code, vectors, precision="highest")


def dropped_captions(key: jax.Array, sample_ids: jax.Array, rate: float) -> jax.Array:
    """B M bool: the clips that are trained without their caption, for guidance."""
    return per_sample(key, sample_ids, lambda k: jax.random.bernoulli(k, rate))


def token_noise(
    key: jax.Array,
    sample_ids: jax.Array,
    segment_ids: jax.Array,
    positions: jax.Array,
    channels: int,
) -> jax.Array:
    """Standard normal noise B L C float32, a function of (key, sample id, t, h, w) alone.

    sample_ids: B M uint32; segment_ids: B L; positions: B L 3 float32, whose bits are used.
    """

    def local(
        key: jax.Array, sample_ids: jax.Array, segment_ids: jax.Array, positions: jax.Array
    ) -> jax.Array:
        ids = jnp.take_along_axis(sample_ids, jnp.maximum(segment_ids - 1, 0), axis=1)
        bits = jax.lax.bitcast_convert_type(positions, jnp.uint32)

        def token(sample_id: jax.Array, position: jax.Array) -> jax.Array:
            token_key = jax.random.fold_in(key, sample_id)
            for coordinate in position:
                token_key = jax.random.fold_in(token_key, coordinate)
            return jax.random.normal(token_key, (channels,))

        return jax.vmap(jax.vmap(token))(ids, bits)

    tokens = spec("batch", "length")
    if tokens is None:
        return local(key, sample_ids, segment_ids, positions)
    values = spec("batch", "length", None)
    specs = (spec(), spec("batch", None), tokens, values)
    return jax.shard_map(local, in_specs=specs, out_specs=values)(
        key, sample_ids, segment_ids, positions
    )


def token_weights(mask: jax.Array, segment_one_hot: jax.Array | None, per: str) -> jax.Array:
    """Weights B L that sum to 1 over the whole batch and are 0 where `mask` (B L bool) is False.

    per="token": all other tokens have the same weight. per="clip": all clips have the same weight,
    divided among their tokens; this needs segment_one_hot, B L M.
    """
    mask = mask.astype(jnp.float32)
    if per == "token":
        return mask / jnp.maximum(mask.sum(), 1)
    assert segment_one_hot is not None
    counts = jnp.einsum("bl,blm->bm", mask, segment_one_hot, out_sharding=spec("batch", None))
    clips = jnp.maximum((counts > 0).sum(), 1)
    return mask * jnp.einsum("blm,bm->bl", segment_one_hot, 1 / jnp.maximum(counts, 1)) / clips


def per_sample(
    key: jax.Array, sample_ids: jax.Array, draw: Callable[[jax.Array], jax.Array]
) -> jax.Array:
    """draw(key folded with the sample id) for each of B M ids."""

    def local(key: jax.Array, ids: jax.Array) -> jax.Array:
        return jax.vmap(jax.vmap(lambda i: draw(jax.random.fold_in(key, i))))(ids)

    rows = spec("batch", None)
    if rows is None:
        return local(key, sample_ids)
    return jax.shard_map(local, in_specs=(spec(), rows), out_specs=rows)(key, sample_ids)
