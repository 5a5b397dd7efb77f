"""Principal components of patches: the autoencoder starts from them and must beat them."""

from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from videodit.config import ConfigError
from videodit.sharding import spec


@jax.jit
def moments(values: jax.Array, mask: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Count, sum (P) and sum of outer products (P P) of the values B L P where mask B L is true."""
    values = values * mask[..., None]
    sums = jnp.einsum("blp->p", values, out_sharding=spec(None))
    products = jnp.einsum("blp,blq->pq", values, values, out_sharding=spec(None, None))
    return mask.sum(dtype=jnp.float32), sums, products


def mean_and_covariance(batches: Iterable[tuple[Any, Any]]) -> tuple[np.ndarray, np.ndarray]:
    """Mean (P) and covariance (P P), float64, over batches of (values B L P, mask B L bool).

    Raises ConfigError if the mask is false everywhere.
    """
    count: Any = 0.0
    total: Any = 0.0
    products: Any = 0.0
    for values, mask in batches:
        parts = jax.device_get(moments(values, mask))
        count, total, products = (
            a + np.float64(b) for a, b in zip((count, total, products), parts)
        )
    if not count:
        raise ConfigError("data.catalog: expected a readable clip in the first training batches")
    mean = total / count
    return mean, products / count - np.outer(mean, mean)


def principal_components(
    mean: np.ndarray, covariance: np.ndarray, channels: int
) -> dict[str, np.ndarray]:
    """The `channels` leading components: mean P, components P C, stds C; float32."""
    variances, vectors = np.linalg.eigh(covariance)
    order = np.argsort(variances)[::-1][:channels]
    stds = np.sqrt(np.maximum(variances[order], 1e-8))
    arrays = {"mean": mean, "components": vectors[:, order], "stds": stds}
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def reconstruct(values: Any, pca: Mapping[str, Any]) -> jax.Array:
    """Values B L P coded by the components of `principal_components` and decoded: B L P."""
    code = jnp.einsum("blp,pc->blc", values - pca["mean"], pca["components"])
    return jnp.einsum("blc,pc->blp", code, pca["components"]) + pca["mean"]
