"""A ring of devices computes what one device does, also at the borders of their parts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from videodit.nn import plain_attention as attention_module
from videodit.nn.attention import attention
from videodit.nn.segments import NOBODY, Segments
from videodit.sharding import spec

LENGTH = 64


def inputs(keys=LENGTH, calls=0):
    """Two rows of segments that cross every border of 8 parts; some queries see nothing."""
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=(2, n, 4, 8)).astype(np.float32) for n in (LENGTH, keys, keys)]
    ids = [np.sort(rng.integers(1, 5, (2, n))).astype(np.int32) for n in (LENGTH, keys)]
    ids[0][1, 20:23] = 9
    if calls:
        calls_of = np.arange(LENGTH) % calls
        query = [np.where(calls_of == call, ids[0], NOBODY) for call in range(calls)]
        ids = [np.stack(query, -1), np.stack([ids[1]] * calls, -1)]
    return *arrays, *ids


def outputs_and_gradients(arrays, implementation="blocked", where=None):
    """Attention of float32 or bfloat16 arrays, and gradients, on the current mesh if any."""
    q, k, v, query_ids, key_ids = arrays
    if spec() is not None:
        place = lambda x, *names: jax.device_put(
            x, jax.sharding.NamedSharding(jax.sharding.get_mesh(), spec(*names))
        )
        names = [("batch", "length", "heads", None)] * 3 + [("batch", "length", None)] * 2
        arrays = (q, k, v, query_ids, key_ids)
        arrays = [place(x, *n[: x.ndim]) for x, n in zip(arrays, names)]
        q, k, v, query_ids, key_ids = arrays

    def run(q, k, v):
        y = attention(q, k, v, Segments(query_ids, key_ids), implementation)
        return jnp.square(y.astype(jnp.float32)).sum(), y

    with jax.default_matmul_precision("highest"):
        grads, y = jax.jit(jax.grad(run, (0, 1, 2), has_aux=True))(q, k, v)
    return jax.device_get((y, *grads))


@pytest.mark.parametrize("shape", [{"ring": 8}, {"ring": 2, "context": 2, "tensor": 2}])
@pytest.mark.parametrize("calls", [0, 2])
def test_outputs_and_gradients_equal_those_of_one_device(mesh, monkeypatch, shape, calls):
    monkeypatch.setattr(attention_module, "BLOCK", 4)
    arrays = inputs(calls=calls)
    expected = outputs_and_gradients(arrays, "masked")
    with mesh(**shape):
        got = outputs_and_gradients(arrays)
    for a, b in zip(expected, got):
        np.testing.assert_allclose(a, b, atol=1e-5, rtol=1e-5)


def test_keys_that_are_fewer_than_queries_are_gathered(mesh):
    arrays = inputs(keys=16)
    expected = outputs_and_gradients(arrays, "masked")
    with mesh(ring=4, context=2):
        got = outputs_and_gradients(arrays)
    for a, b in zip(expected, got):
        np.testing.assert_allclose(a, b, atol=1e-5, rtol=1e-5)


def test_bfloat16_is_summed_in_float32(mesh):
    """The error against float32 is that of one rounding, however many parts were summed."""
    exact = inputs()
    rounded = [jnp.asarray(x, jnp.bfloat16) for x in exact[:3]]
    expected = outputs_and_gradients((*(np.float32(x) for x in rounded), *exact[3:]), "masked")
    with mesh(ring=8):
        got = outputs_and_gradients((*rounded, *exact[3:]))
    for a, b in zip(expected, got):
        error = np.linalg.norm(a - np.float32(b)) / np.linalg.norm(a)
        assert b.dtype == jnp.bfloat16 and error < 2**-7


def test_keys_that_nobody_sees_cost_nothing(mesh):
    """Values of another device's segment would reach every sum in which they have the weight 0."""
    q, k, v, *_ = inputs()
    ids = np.repeat(np.arange(1, 9, dtype=np.int32), 8)[None].repeat(2, axis=0)
    v[:, 16:24] = np.nan
    with mesh(ring=8):
        y, *_ = outputs_and_gradients((q, k, v, ids, ids))
    np.testing.assert_array_equal(np.isnan(y).any((0, 2, 3)), ids[0] == 3)


def test_no_device_holds_all_keys_or_logits(mesh):
    """Temporaries of a device stay where they are when ring and row grow together."""

    def temporary_bytes(ring):
        with mesh(ring=ring):
            shape = (1, 1024 * ring, 1, 8)
            here = jax.sharding.NamedSharding(
                jax.sharding.get_mesh(), spec("batch", "length", "heads", None)
            )
            q = jax.ShapeDtypeStruct(shape, jnp.float32, sharding=here)
            ids = jax.ShapeDtypeStruct(
                shape[:2],
                jnp.int32,
                sharding=jax.sharding.NamedSharding(here.mesh, spec("batch", "length")),
            )
            loss = lambda q, k, v, ids: attention(q, k, v, Segments(ids)).sum()
            step = jax.jit(jax.grad(loss, (0, 1, 2))).lower(q, q, q, ids)
            return step.compile().memory_analysis().temp_size_in_bytes

    assert temporary_bytes(8) < 1.2 * temporary_bytes(4)
