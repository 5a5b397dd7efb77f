import jax
import jax.numpy as jnp
import numpy as np
import pytest

from videodit.nn.functional import functional
from videodit.nn.layers import Dense
from videodit.nn.low_precision import FORMATS, low_precision_matmul, quantised
from videodit.sharding import spec

ERROR = {"int8": 0.01, "fp8": 0.04}  # of normal values: steps of 1/127 of the largest, of 1/16
NAMES = ("batch", "length", "mlp")


def values(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def distance(a, b):
    return np.linalg.norm(np.asarray(a) - b) / np.linalg.norm(b)


def test_quantised_values_are_multiples_of_their_scale():
    x = np.array([[1.0, -2.54, 0.5], [0, 0, 0]], np.float32)
    y, scale = quantised(x, -1, jnp.int8)
    np.testing.assert_array_equal(y, [[50, -127, 25], [0, 0, 0]])
    np.testing.assert_allclose(scale, [[0.02], [1]], rtol=1e-6)
    y, scale = quantised(x, -1, jnp.float8_e4m3fn)
    np.testing.assert_allclose(np.abs(y.astype(np.float32) * scale).max(-1), [2.54, 0], rtol=1e-6)


@pytest.mark.parametrize("matmul", list(FORMATS))
def test_matmul_and_gradients_are_near_those_in_full(matmul):
    x, kernel, gradient = values(2, 5, 64), values(64, 48, seed=1), values(2, 5, 48, seed=2)
    y, pull = jax.vjp(lambda x, w: low_precision_matmul(x, w, matmul, NAMES), x, kernel)
    dx, dkernel = pull(gradient)
    assert 1e-4 < distance(y, x @ kernel) < ERROR[matmul]
    # Gradients of "fp8" have two bits of mantissa.
    assert 1e-4 < distance(dx, gradient @ kernel.T) < 2 * ERROR[matmul]
    exact = np.einsum("bli,blo->io", x, gradient)
    np.testing.assert_allclose(dkernel, exact, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("axes", [("embed", "mlp"), ("mlp", "embed")])
def test_a_mesh_changes_nothing(mesh, axes):
    init, apply = functional(lambda rngs: Dense(16, 8, axes, rngs=rngs, matmul="int8"))
    x = values(4, 6, 16)
    names = ("batch", "length", "mlp" if axes[1] == "mlp" else "act_embed")
    inner = "act_embed" if axes[1] == "mlp" else "mlp"
    loss = lambda params, x: jnp.square(apply(params, x, *names)).sum()

    def gradients():
        params = init(jax.random.key(0))
        rows = jax.device_put(x) if jax.sharding.get_mesh().empty else _placed(x, inner)
        return jax.tree.map(np.asarray, jax.jit(jax.grad(loss, (0, 1)))(params, rows))

    alone = gradients()
    with mesh(fsdp=2, tensor=2, context=2):
        for a, b in zip(jax.tree.leaves(alone), jax.tree.leaves(gradients())):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def _placed(x, inner):
    sharding = jax.sharding.NamedSharding(jax.sharding.get_mesh(), spec("batch", "length", inner))
    return jax.device_put(x, sharding)
