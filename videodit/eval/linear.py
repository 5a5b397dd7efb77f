"""The best linear predictor of a token's velocity from its noisy latent and its level."""

import jax
import jax.numpy as jnp


def best_linear_velocity(xt: jax.Array, level: jax.Array, covariance: jax.Array) -> jax.Array:
    """E[v | x_t] over linear functions of x_t, for latents of zero mean and covariance R.

    With x_t = (1 - t) x_0 + t e and v = e - x_0 (diffusion/flow.py): Cov(v, x_t) = t I - (1 - t) R
    and Cov(x_t) = (1 - t)^2 R + t^2 I, solved in the eigenbasis of R. xt: B L C, level: B L 1,
    covariance: C C. Returns B L C.
    """
    variances, vectors = jnp.linalg.eigh(covariance)
    gain = (level - (1 - level) * variances) / ((1 - level) ** 2 * variances + level**2 + 1e-12)
    code = jnp.einsum("blc,ce->ble", xt, vectors)
    return jnp.einsum("ble,ce->blc", gain * code, vectors)
