import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from optax.contrib import MuonDimensionNumbers

from videodit.config import OptimConfig
from videodit.muon import orthogonal_update, orthogonalised
from videodit.optim import make_optimizer
from videodit.parameters import ALL
from videodit.sharding import spec

KERNEL = np.random.default_rng(0).normal(size=(4, 8, 12)).astype(np.float32)


@pytest.mark.parametrize("shape", [(8, 8), (6, 20), (20, 6)])
def test_singular_values_end_near_one_in_the_same_basis(shape):
    matrix = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    left, _, right = np.linalg.svd(matrix, full_matrices=False)
    values = left.T @ np.asarray(orthogonalised(jnp.asarray(matrix))) @ right.T
    np.testing.assert_allclose(values - np.diag(np.diag(values)), 0, atol=1e-3)
    assert (np.diag(values) > 0.6).all() and (np.diag(values) < 1.3).all()


def test_the_first_update_is_that_of_optax():
    other = optax.contrib.muon(
        0.1,
        consistent_rms=0.2,
        muon_weight_dimension_numbers={"kernel": MuonDimensionNumbers(1, 2)},
    )
    tree = {"kernel": jnp.asarray(KERNEL)}
    expected, _ = other.update(tree, other.init(tree), tree)
    got = -0.1 * orthogonal_update(tree["kernel"])
    np.testing.assert_allclose(got, expected["kernel"], atol=1e-5)


def test_matrices_of_blocks_alone_are_updated_by_it():
    cfg = OptimConfig(learning_rate=1.0, matrices="muon", weight_decay=0.0, clip_norm=1e9)
    optimizer = make_optimizer(cfg, lambda step: 1.0, ALL)
    blocks = {"mlp": {"kernel": KERNEL}, "table": {"kernel": KERNEL}, "norm": {"scale": KERNEL[0]}}
    params = jax.tree.map(jnp.asarray, {"blocks": blocks, "head": {"kernel": KERNEL[0]}})
    updates, _ = optimizer.update(params, optimizer.init(params), params)
    muon = updates["blocks"].pop("mlp")["kernel"]
    np.testing.assert_allclose(muon, -orthogonal_update(jnp.asarray(KERNEL)), atol=1e-5)
    for update in jax.tree.leaves(updates):  # Adam's first update is the sign of the gradient
        np.testing.assert_allclose(np.abs(update), 1, rtol=1e-2)


@pytest.mark.parametrize("fsdp, tensor", [(4, 2), (8, 1)])
def test_any_sharding_gives_the_same_update(mesh, fsdp, tensor):
    """Four layers divide over fsdp=4 and not over 8."""
    expected = orthogonal_update(jnp.asarray(KERNEL))
    with mesh(fsdp=fsdp, tensor=tensor):
        sharded = jax.device_put(
            KERNEL, jax.sharding.NamedSharding(jax.sharding.get_mesh(), spec(None, "embed", "mlp"))
        )
        got = jax.jit(orthogonal_update)(sharded)
        assert got.sharding == sharded.sharding
    np.testing.assert_allclose(got, expected, atol=1e-5)
