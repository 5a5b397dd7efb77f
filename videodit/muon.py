"""Muon for stacked matrices: updates whose singular values are all about 1 (arXiv:2502.16982).

The momentum is elementwise and sharded like the parameters. Orthogonalising needs whole matrices:
they are gathered for it, the layers of a stack shared out over fsdp where their number divides.
"""

import jax
import jax.numpy as jnp
import optax
from jax.sharding import PartitionSpec

from videodit.parameters import Path
from videodit.sharding import axis_size, spec

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # Newton-Schulz, steepest at 0 (Jordan et al., 2024)
ITERATIONS = 5
MOMENTUM = 0.95
RMS = 0.2  # of an update, as AdamW's is about: so one learning rate does for both


def is_stacked_matrix(path: Path) -> bool:
    """Whether a parameter is a matrix of each layer of a stack, and no table of modulations."""
    return "blocks" in path and path[-1] == "kernel" and "table" not in path


def scale_by_muon() -> optax.GradientTransformation:
    """Nesterov momentum, orthogonalised, at AdamW's usual size; leaves are depth inputs outputs."""
    scale = lambda update, params=None: jax.tree.map(orthogonal_update, update)
    return optax.chain(optax.trace(MOMENTUM, nesterov=True), optax.stateless(scale))


def orthogonal_update(x: jax.Array) -> jax.Array:
    """The orthogonalised matrices of x (depth inputs outputs float32), with a mean square of RMS^2.

    A matrix of m x n with singular values of 1 has the mean square 1 / max(m, n).
    """
    here = None if spec() is None else jax.typeof(x).sharding.spec
    whole = x if here is None else jax.reshard(x, _whole_matrices(len(x)))
    y = RMS * max(x.shape[1:]) ** 0.5 * jax.vmap(orthogonalised)(whole)
    return y if here is None else jax.reshard(y, here)


def orthogonalised(matrix: jax.Array) -> jax.Array:
    """The matrix (m n) with singular values near 1, by Newton-Schulz iterations.

    These need no decomposition: with these coefficients the values end between 0.7 and 1.2.
    """
    a, b, c = COEFFICIENTS
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / (jnp.linalg.norm(x) + 1e-8)
    for _ in range(ITERATIONS):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return x.T if tall else x


def _whole_matrices(depth: int) -> PartitionSpec:
    """Layers over fsdp if their number divides; else every device has all of them."""
    return PartitionSpec("fsdp" if depth % axis_size("embed") == 0 else None, None, None)
