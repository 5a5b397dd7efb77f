from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from videodit.nn import layers, rope
from videodit.nn.functional import functional
from videodit.nn.layers import LevelEmbedding, RMSNorm, layer_norm, to_slots, to_tokens
from videodit.nn.rope import rotary
from videodit.sharding import spec


def test_layer_norm_and_rms_norm_against_numpy():
    x = np.random.default_rng(0).normal(3, 5, (4, 7)).astype(np.float32)
    expected = (x - x.mean(-1, keepdims=True)) / x.std(-1, keepdims=True)
    np.testing.assert_allclose(layer_norm(x), expected, atol=1e-5)
    norm = RMSNorm(7)
    norm.scale[...] = jnp.arange(7.0)
    expected = x / np.sqrt((x**2).mean(-1, keepdims=True)) * np.arange(7)
    np.testing.assert_allclose(norm(x), expected, atol=1e-5)


def test_slots_to_tokens_is_a_lookup_and_back_its_transpose():
    rng = np.random.default_rng(0)
    ids = rng.integers(-1, 5, (2, 11))
    values = rng.normal(size=(2, 5, 3, 2)).astype(np.float32)
    one_hot = jax.nn.one_hot(ids, 5)
    tokens = to_tokens(one_hot, values)
    expected = np.where((ids >= 0)[..., None, None], values[np.arange(2)[:, None], ids], 0)
    np.testing.assert_array_equal(tokens, expected)
    sums = np.zeros_like(values)
    for b, i in np.ndindex(ids.shape):
        if ids[b, i] >= 0:
            sums[b, ids[b, i]] += tokens[b, i]
    np.testing.assert_allclose(to_slots(one_hot, tokens), sums, rtol=1e-6)


@pytest.mark.parametrize("mean", [0, 30, 300])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_layer_norm_with_a_large_mean(dtype, mean):
    x = jnp.asarray(np.random.default_rng(0).normal(mean, 1, (4, 1152)), dtype)
    slopes = np.random.default_rng(1).normal(size=x.shape)
    exact = np.asarray(x, np.float64)
    inverse = 1 / np.sqrt(exact.var(-1, keepdims=True) + 1e-6)
    expected = (exact - exact.mean(-1, keepdims=True)) * inverse
    along = (slopes * expected).mean(-1, keepdims=True)
    gradient = inverse * (slopes - slopes.mean(-1, keepdims=True) - expected * along)
    # At a mean of 300 bfloat16 has steps of 2, two standard deviations: it rounds far more.
    error = 1e-4 if dtype == jnp.float32 else 2e-2
    np.testing.assert_allclose(layer_norm(x), expected, rtol=error, atol=error)
    found = jax.grad(lambda x: (layer_norm(x) * slopes).sum())(x.astype(jnp.float32))
    if dtype == jnp.float32:
        np.testing.assert_allclose(found, gradient, rtol=error, atol=error)


def test_the_product_of_a_tpu_is_the_lookup_of_others(monkeypatch):
    rng = np.random.default_rng(0)
    one_hot = jax.nn.one_hot(rng.integers(-1, 5, (2, 11)), 5)
    values = rng.normal(size=(2, 5, 3)).astype(np.float32)
    looked_up = to_tokens(one_hot, values)
    on_tpu(monkeypatch)
    np.testing.assert_array_equal(to_tokens(one_hot, values), looked_up)


def test_the_gradient_of_a_lookup_is_the_sum_over_the_tokens_of_a_slot():
    rng = np.random.default_rng(0)
    one_hot = jax.nn.one_hot(rng.integers(-1, 5, (2, 11)), 5)
    values, slopes = (rng.normal(size=(2, n, 3)).astype(np.float32) for n in (5, 11))
    gradient = jax.grad(lambda values: (to_tokens(one_hot, values) * slopes).sum())(values)
    np.testing.assert_allclose(gradient, to_slots(one_hot, slopes), rtol=1e-6)


def test_a_lookup_on_a_mesh_is_that_on_one_device(mesh):
    rng = np.random.default_rng(0)
    one_hot = jax.nn.one_hot(rng.integers(-1, 5, (2, 8)), 5)
    values, slopes = (rng.normal(size=(2, n, 3)).astype(np.float32) for n in (5, 8))

    def both(one_hot, values, slopes):
        loss = lambda values: (to_tokens(one_hot, values) * slopes).sum()
        return to_tokens(one_hot, values), jax.grad(loss)(values)

    expected = both(one_hot, values, slopes)
    with mesh(fsdp=2, ring=2, context=2):
        tokens = spec("batch", "length", None)
        found = jax.jit(both)(
            jax.device_put(one_hot, tokens), values, jax.device_put(slopes, tokens)
        )
    for x, y in zip(found, expected):
        np.testing.assert_allclose(x, y, rtol=1e-6)


def test_products_with_a_one_hot_are_exact_in_float32(monkeypatch):
    on_tpu(monkeypatch)
    one_hot, values = jnp.ones((1, 3, 2)), jnp.ones((1, 2, 4))
    for product, x in ((to_tokens, values), (to_slots, jnp.ones((1, 3, 4)))):
        assert "HIGHEST" in jax.jit(product).lower(one_hot, x).as_text()


def on_tpu(monkeypatch):
    """Programs are made as for a TPU."""
    monkeypatch.setattr(layers, "target_device", lambda: SimpleNamespace(platform="tpu"))


def test_near_levels_have_near_embeddings_and_far_ones_do_not():
    embed = LevelEmbedding(32, rngs=nnx.Rngs(0))
    base, near, far = embed(jnp.array([[0.5, 0.5005, 0.9]]))[0]
    assert jnp.abs(base - near).max() < 0.3 * jnp.abs(base - far).max()


@pytest.mark.parametrize("platform", ["cpu", "gpu", "tpu"])
def test_normalised_and_turned_heads_and_their_gradients_are_those_of_the_two_steps(
    monkeypatch, platform
):
    """Also as a GPU and a TPU swap halves."""
    rng = np.random.default_rng(0)
    x, slopes = rng.normal(size=(2, 1, 6, 2, 16)).astype(np.float32)
    scale = rng.normal(size=16).astype(np.float32)
    angles = rotary(rng.uniform(0, 9, (1, 6, 3)).astype(np.float32), 16)
    _, norm = functional(lambda rngs: RMSNorm(16))

    def in_two_steps(x, scale):
        x = x / jnp.sqrt(jnp.square(x).mean(-1, keepdims=True)) * scale
        pairs = x[..., :8] + 1j * x[..., 8:]
        turned = pairs * (angles[0] + 1j * angles[1])[:, :, None]
        return (jnp.concatenate([turned.real, turned.imag], -1) * slopes).sum()

    def at_once(x, scale):
        return (norm({"scale": scale}, x, angles) * slopes).sum()

    expected = jax.value_and_grad(in_two_steps, (0, 1))(x, scale)
    monkeypatch.setattr(rope, "target_device", lambda: SimpleNamespace(platform=platform))
    got = jax.value_and_grad(at_once, (0, 1))(x, scale)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected)):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
