import jax
import jax.numpy as jnp
import numpy as np

from videodit.nn.segments import permuted, sorted_order

IDS = np.random.default_rng(0).integers(0, 4, (2, 12, 3)).astype(np.int32)


def test_sorted_ids_rise_and_equal_ones_keep_their_order():
    order = sorted_order(IDS)
    for b, c in np.ndindex(2, 3):
        expected = sorted(range(12), key=lambda i: (IDS[b, i, c], i))
        np.testing.assert_array_equal(order.forward[b, :, c], expected)
        np.testing.assert_array_equal(order.forward[b, order.inverse[b, :, c], c], np.arange(12))


def test_permuting_moves_tokens_and_their_gradients_back():
    x = np.random.default_rng(1).normal(size=(2, 12, 5)).astype(np.float32)
    order = sorted_order(IDS[..., :1])
    forward, inverse = order.forward[..., 0], order.inverse[..., 0]
    expected = np.stack([row[np.asarray(index)] for row, index in zip(x, forward)])
    np.testing.assert_array_equal(permuted(x, forward, inverse), expected)
    np.testing.assert_array_equal(permuted(expected, inverse, forward), x)
    weights = np.random.default_rng(2).normal(size=x.shape).astype(np.float32)
    gradient = jax.grad(lambda x: (permuted(x, forward, inverse) * weights).sum())
    back = np.stack([row[np.argsort(index)] for row, index in zip(weights, forward)])
    np.testing.assert_array_equal(gradient(x), back)
    assert "scatter" not in str(jax.make_jaxpr(gradient)(x))


def test_orders_on_a_mesh_are_those_of_one_device(mesh):
    with mesh(data=2, context=4):
        ids = jax.device_put(
            IDS, jax.NamedSharding(jax.sharding.get_mesh(), jax.P("data", "context"))
        )
        on_mesh = jax.jit(sorted_order)(ids)
    for a, b in zip(on_mesh, sorted_order(jnp.asarray(IDS))):
        np.testing.assert_array_equal(a, b)
