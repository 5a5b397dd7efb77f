import jax
import jax.numpy as jnp
import numpy as np
import pytest

from videodit.digest import digest
from videodit.sharding import spec


def make():
    kernel = jax.random.normal(jax.random.key(0), (8, 16), out_sharding=spec("embed", "mlp"))
    return {"kernel": kernel, "half": jnp.ones((3, 5), jnp.bfloat16), "count": jnp.int32(7)}


@pytest.fixture(scope="module")
def tree():
    return jax.device_get(jax.jit(make)())


@pytest.mark.parametrize("shape", [(1, 8, 1, 1), (2, 2, 1, 2), (1, 1, 1, 1)])
def test_it_is_the_same_on_any_mesh(mesh, tree, shape):
    with mesh(*shape):
        placed = jax.jit(make)()
        jax.tree.map(np.testing.assert_array_equal, jax.device_get(placed), tree)
        assert digest(placed) == digest(tree)


def test_one_bit_changes_it(tree):
    rng = np.random.default_rng(0)
    seen = {digest(tree)}
    for _ in range(50):
        kernel = tree["kernel"].copy()
        kernel.view(np.uint32)[rng.integers(8), rng.integers(16)] ^= np.uint32(
            1 << int(rng.integers(32))
        )
        seen.add(digest({**tree, "kernel": kernel}))
    assert len(seen) > 48  # the same bit may be drawn twice


def test_order_shape_name_and_dtype_count(tree):
    kernel = tree["kernel"]
    others = (
        {**tree, "kernel": kernel[::-1]},
        {**tree, "kernel": kernel.reshape(16, 8)},
        {"half": tree["half"], "count": tree["count"], "other": kernel},
        {**tree, "count": np.float32(1e-44)},  # 7 as bits
    )
    assert len({digest(other) for other in (tree, *others)}) == 5
