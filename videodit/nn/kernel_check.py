"""Checks the run's implementation of attention against the reference before the run starts."""

import dataclasses
import logging
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils

from videodit.config import ComputeConfig, MeshConfig
from videodit.nn.attention import RING, attention
from videodit.nn.kernels import AUTO, PLATFORMS, resolve
from videodit.nn.segments import Segments
from videodit.nn.windows import causal_chunk_segments, chunk_of
from videodit.sharding import axis_size, make_mesh

LENGTH = 1300  # tokens of a row of the pack: several blocks of every kernel, and not whole ones
MOST_ERROR = 0.02  # by norm, relative: bfloat16's rounding is 0.004
logger = logging.getLogger(__name__)


def resolve_attention(compute: ComputeConfig, causal: bool = False) -> ComputeConfig:
    """`compute` with the name of an implementation of attention that works here; logs the choice.

    A kernel that does not agree with the reference, or does not run, is replaced by "blocked".
    causal: also check the kernel on causal segments. That is for autoregressive models such as a
    captioner; no command uses it yet.
    Raises ConfigError for a compute.attention that is unknown or of another platform.
    """
    name, reason = resolve(compute.attention)
    along_ring = axis_size("attention_length") > 1
    error = _failure(name, along_ring, causal) if name in PLATFORMS else ""
    if _on_any_process(bool(error)):
        logger.warning("attention: blocked, because %s failed its check: %s", name, error)
        name = "blocked"
    else:
        logger.info("attention: %s, because %s", name, reason)
    if along_ring and name not in RING:
        logger.info("self-attention: in blocks, by ring attention (mesh.ring > 1)")
    return dataclasses.replace(compute, attention=name)


def resolve_attention_anew(compute: ComputeConfig, causal: bool = False) -> ComputeConfig:
    """As `resolve_attention`, for trained weights: this machine may lack the training's kernel."""
    return resolve_attention(dataclasses.replace(compute, attention=AUTO), causal)


def _failure(name: str, along_ring: bool, causal: bool) -> str:
    error = check(name, causal=causal)
    if error or not along_ring or name not in RING:
        return error
    if len(jax.local_devices()) == 1:
        logger.info("attention: %s is not tried along the ring, on a process of one device", name)
        return ""
    error = check(name, ring=2, causal=causal)
    return f"along a ring: {error}" if error else ""


def check(implementation: str, ring: int = 1, causal: bool = False) -> str:
    """How it differs from the reference on a small pack, on `ring` devices; "" if it does not."""
    try:
        with jax.set_mesh(make_mesh(MeshConfig(data=1, ring=ring), jax.local_devices()[:ring])):
            errors = {
                f"{name} {what}": error
                for name, segments in _packs(causal).items()
                for what, error in _errors(implementation, segments).items()
            }
    except Exception as error:  # of whatever kind the compilers raise
        return f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
    wrong = {name: error for name, error in errors.items() if not error < MOST_ERROR}
    return ", ".join(f"{name} is wrong by {error:.2g}" for name, error in wrong.items())


def _packs(causal: bool) -> dict[str, Segments]:
    """Segments of a small pack, of every kind that models ask for."""
    lengths = np.array([1, 17, 400, 300, 382, 200])
    row = np.repeat(np.arange(1, 7), lengths)[:LENGTH]
    segments: Any = np.broadcast_to(row, (2, LENGTH)).astype(np.int32).copy()
    segments[1, -40:] = 0  # padding
    text: Any = np.repeat(np.arange(1, 7), 5)[None].repeat(2, axis=0).astype(np.int32)
    apart: Any = np.arange(LENGTH) // (LENGTH // 4) + 1 + 0 * segments  # also of the halves
    frames: Any = np.arange(LENGTH) // 8
    chunks = chunk_of(frames, 2)[None] + 0 * segments
    windows = causal_chunk_segments(jnp.asarray(segments), jnp.asarray(chunks), 0 * segments)
    packs = {
        "self-attention": Segments(segments, most=7),
        "self-attention to parts": Segments(apart, most=4),
        "cross-attention": Segments(segments, text, most=7),
        "windowed attention": windows,
    }
    if causal:
        packs["causal self-attention"] = Segments(segments, most=7, causal=True)
    return packs


def _errors(implementation: str, segments: Segments) -> dict[str, float]:
    """Norms of the differences from the reference in float32, relative to what it gives."""
    rng = np.random.default_rng(0)
    queries, keys = segments.query.shape[1], segments.keys.shape[1]
    arrays = [rng.normal(size=(2, length, 2, 128)) for length in (queries, keys, keys, queries)]
    *heads, weights = (jnp.asarray(x, jnp.bfloat16) for x in arrays)

    def run(implementation: str, *heads: jax.Array) -> list[np.ndarray]:
        def loss(*heads: jax.Array) -> tuple[jax.Array, jax.Array]:
            q, k, v = heads
            y = attention(q, k, v, segments, implementation)
            return (y * weights.astype(y.dtype)).sum(dtype=jnp.float32), y

        gradients, y = jax.jit(jax.grad(loss, (0, 1, 2), has_aux=True))(*heads)
        return [np.asarray(x, np.float32) for x in (y, *gradients)]

    with jax.default_matmul_precision("highest"):
        expected = run("masked", *(x.astype(jnp.float32) for x in heads))
    found = run(implementation, *heads)
    differ = lambda a, b: float(np.linalg.norm(a - b) / np.linalg.norm(b))
    names = ("output", "gradient of q", "gradient of k", "gradient of v")
    return {name: differ(a, b) for name, a, b in zip(names, found, expected)}


def _on_any_process(flag: bool) -> bool:
    """Whether `flag` is true of any process: all of them must compile the same program."""
    if jax.process_count() == 1:
        return flag
    return bool(multihost_utils.process_allgather(np.array(flag)).any())
