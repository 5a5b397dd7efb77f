import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from videodit.config import ConfigError
from videodit.nn import plain_attention as attention_module
from videodit.nn.attention import attention
from videodit.nn.segments import Segments


def inputs(length=37, keys=29, heads=2, size=8, segments=4):
    rng = np.random.default_rng(0)
    q, k, v = (
        rng.normal(size=(2, n, heads, size)).astype(np.float32) for n in (length, keys, keys)
    )
    ids = [np.sort(rng.integers(0, segments, (2, n))).astype(np.int32) for n in (length, keys)]
    return q, k, v, *ids


def reference(q, k, v, query_ids, key_ids):
    """One segment at a time in float64."""
    out = np.zeros_like(q, np.float64)
    for b, n in np.ndindex(q.shape[0], q.shape[2]):
        for segment in np.unique(query_ids[b]):
            rows, columns = query_ids[b] == segment, key_ids[b] == segment
            if not columns.any():
                continue  # nothing to see: 0
            logits = q[b, rows, n].astype(np.float64) @ k[b, columns, n].T / np.sqrt(q.shape[-1])
            weights = np.exp(logits - logits.max(-1, keepdims=True))
            weights /= weights.sum(-1, keepdims=True)
            out[b, rows, n] = weights @ v[b, columns, n]
    return out


@pytest.mark.parametrize("implementation", ["masked", "blocked"])
@pytest.mark.parametrize("block", [8, 64])
def test_equals_attention_of_each_segment_alone(monkeypatch, implementation, block):
    monkeypatch.setattr(attention_module, "BLOCK", block)
    q, k, v, query_ids, key_ids = inputs()
    query_ids[1, :5] = 9  # who see nothing
    with jax.default_matmul_precision("highest"):
        y = attention(q, k, v, Segments(query_ids, key_ids), implementation)
    np.testing.assert_allclose(y, reference(q, k, v, query_ids, key_ids), atol=1e-6)


def test_a_long_row_has_larger_blocks_and_no_more_of_them():
    sizes = attention_module.query_block, attention_module.key_block
    assert [size(16384) for size in sizes] == [128, 512]
    assert [size(131072) for size in sizes] == [1024, 1024]
    assert [size(504) for size in sizes] == [32, 32]
    assert [size(20) for size in sizes] == [32, 20]


@pytest.mark.parametrize("most", [128, 2])
def test_gradients_of_blocked_equal_those_of_masked(monkeypatch, most):
    monkeypatch.setattr(attention_module, "MOST_BLOCKS", most)
    monkeypatch.setattr(attention_module, "BLOCK", 8)
    q, k, v, query_ids, key_ids = inputs()
    query_ids[1, :5] = 9  # who see nothing

    def gradients(implementation):
        loss = lambda q, k, v: jnp.square(
            attention(q, k, v, Segments(query_ids, key_ids), implementation)
        ).sum()
        with jax.default_matmul_precision("highest"):
            return jax.grad(loss, (0, 1, 2))(q, k, v)

    for a, b in zip(gradients("masked"), gradients("blocked")):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_blocked_never_holds_all_logits():
    length = 2048
    q = jax.ShapeDtypeStruct((1, length, 1, 8), jnp.float32)
    ids = jax.ShapeDtypeStruct((1, length), jnp.int32)

    def temporary_bytes(implementation):
        loss = lambda q, ids: attention(q, q, q, Segments(ids), implementation).sum()
        return jax.jit(jax.grad(loss)).lower(q, ids).compile().memory_analysis().temp_size_in_bytes

    assert temporary_bytes("blocked") < 4 * length * length < temporary_bytes("masked")


def test_blocks_that_nobody_sees_are_skipped(monkeypatch):
    monkeypatch.setattr(attention_module, "BLOCK", 8)
    q, k, v, *_ = inputs(length=32, keys=32)
    ids = np.repeat([[1, 2, 3, 4]], 8, axis=1).repeat(2, axis=0).astype(np.int32)
    v[:, 8:16] = np.nan  # would reach every sum in which they have the weight 0
    y = attention(q, k, v, Segments(ids), "blocked")
    np.testing.assert_array_equal(np.isnan(y).any((0, 2, 3)), ids[0] == 2)


def test_an_unknown_implementation_is_named():
    q, k, v, query_ids, key_ids = inputs()
    with pytest.raises(ConfigError, match="did you mean 'blocked'"):
        attention(q, k, v, Segments(query_ids, key_ids), "blockd")


def test_layers_keep_nothing_of_the_size_of_a_row_squared():
    def loss(x, ids):
        see = Segments(ids), "blocked"
        layer = jax.checkpoint(lambda x, w: (x + w * attention(x, x, x, *see), None))
        return jax.lax.scan(layer, x, jnp.ones(2))[0].sum()

    length = 4096
    x, ids = jnp.zeros((1, length, 1, 8)), jnp.ones((1, length), jnp.int32)
    text = jax.jit(jax.grad(loss)).lower(x, ids).as_text()
    shapes = re.findall(r"tensor<((?:\d+x)+)", text)
    assert max(math.prod(map(int, shape[:-1].split("x"))) for shape in shapes) < length**2 / 16
