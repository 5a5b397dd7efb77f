"""Attention over packed rows: time, useful TFLOP/s and error of each implementation that runs here.

    python -m tools.bench.attention                              # this machine's platform
    python -m tools.bench.attention --tokens=32768 --heads=24    # other shapes
    python -m tools.bench.attention --side=64                    # windows in frames of 64 x 64
    python -m tools.bench.attention --causal                     # as in a decoder

Rows are filled with clips of log-normal length, the median a sixteenth of the row, aligned to
nothing. Useful are pairs of a query and a key that it sees: 4 H FLOPs each forward, and two and a
half times that backward. Errors are by norm, against the reference in float32, of the first head.
With --side the row is one clip, in chunks of 2 latent frames and windows of 16 x 16 cells, as the
autoencoder has them; "in order" brings the tokens of a window together first. Where torch sees a
GPU its varlen attention (FlashAttention) runs on the same lengths.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from videodit.config import MeshConfig
from videodit.entry import run_command
from videodit.nn.attention import attention
from videodit.nn.kernels import resolve
from videodit.nn.segments import Segments, with_orders
from videodit.nn.windows import causal_chunk_segments, chunk_of, window_ids
from videodit.sharding import join_processes

WINDOW, CHUNK = 16, 2  # cells of a side, latent frames
SHORTEST = 32  # tokens of a clip
BACKWARD = 2.5  # times the FLOPs of the forward pass: five matmuls for two


class Problem(NamedTuple):
    """Attention to be measured, and its name in the table after the implementation."""

    name: str
    segments: Segments


class Result(NamedTuple):
    """Seconds, and errors relative to the reference."""

    forward: float
    both: float  # forward and backward
    error: float  # of the output
    gradient_error: float  # the largest error of the gradients of q, k and v


def packed_lengths(tokens: int, most: int, rng: np.random.Generator) -> list[int]:
    """Lengths of at most `most` clips that fill a row of `tokens` up to less than SHORTEST."""
    lengths: list[int] = []
    while (room := tokens - sum(lengths)) >= SHORTEST and len(lengths) < most:
        drawn = int(rng.lognormal(np.log(tokens / 16), 1.0))
        lengths.append(min(max(drawn, SHORTEST), room))
    return lengths


def packed_ids(lengths: list[list[int]], tokens: int) -> np.ndarray:
    """Segment ids B L of rows of clips: 1, 2, ..., and 0 for padding."""
    ids = np.zeros((len(lengths), tokens), np.int32)
    for row, clips in zip(ids, lengths):
        row[: sum(clips)] = np.repeat(np.arange(1, len(clips) + 1), clips)
    return ids


def windowed_segments(tokens: int, side: int, shifted: bool) -> Segments:
    """Segments of a clip of as many frames of side x side cells as fit into a row."""
    frames = max(tokens // side**2, 1)
    t, rows, columns = (
        x.reshape(1, -1).astype(np.int32) for x in np.indices((frames,) + (side,) * 2)
    )
    windows = window_ids(rows, columns, t < 0, WINDOW, shifted)
    return causal_chunk_segments(np.ones_like(t), chunk_of(t, CHUNK), windows)


def useful_pairs(segments: Segments) -> int:
    """The number of pairs of a query and a key that it sees, without padding."""
    segments = segments.by_call()
    query, key = np.asarray(segments.query), np.asarray(segments.keys)
    total = 0
    for b, c in np.ndindex(query.shape[0], query.shape[2]):
        counts = [np.bincount(x[b, :, c][x[b, :, c] > 0], minlength=1) for x in (query, key)]
        size = min(map(len, counts))
        queries, keys = (x[:size].astype(np.int64) for x in counts)
        pairs = queries * (queries + 1) // 2 if segments.causal else queries * keys
        total += int(pairs.sum())
    return total


def measure(
    implementation: str,
    problem: Problem,
    heads: list[jax.Array],
    reference: list[np.ndarray],
    repeats: int,
) -> Result:
    """Times an implementation. heads: q, k, v and a weight of the output, each B L N H.

    reference: the result of `reference_of`.
    """
    attend, with_gradients = programs(implementation, problem)
    forward, _ = timed(attend, heads, repeats)
    both, found = timed(with_gradients, heads, repeats)
    first = [np.asarray(x[:, :, :1], np.float32) for x in found]
    errors = [float(np.linalg.norm(a - b) / np.linalg.norm(b)) for a, b in zip(first, reference)]
    return Result(forward, both, errors[0], max(errors[1:]))


def programs(implementation: str, problem: Problem) -> tuple[Callable, Callable]:
    """Compiled functions of the heads: one gives the output, one the output and gradients."""

    def attend(segments: Segments, q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
        return attention(q, k, v, segments, implementation)

    def loss(
        heads: tuple[jax.Array, ...], segments: Segments, weight: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        y = attend(segments, *heads)
        return (y * weight).sum(dtype=jnp.float32), y

    @jax.jit
    def with_gradients(
        segments: Segments, q: jax.Array, k: jax.Array, v: jax.Array, weight: jax.Array
    ) -> tuple[jax.Array, ...]:
        gradients, y = jax.grad(loss, has_aux=True)((q, k, v), segments, weight)
        return y, *gradients

    forward, segments = jax.jit(attend), problem.segments
    return lambda q, k, v, _: forward(segments, q, k, v), lambda *x: with_gradients(segments, *x)


def timed(function: Callable, arguments: Sequence[Any], repeats: int) -> tuple[float, Any]:
    """Median seconds of the calls after the first one, and the result of the first."""
    result, seconds = jax.block_until_ready(function(*arguments)), []
    for _ in range(repeats):
        began = time.perf_counter()
        jax.block_until_ready(function(*arguments))
        seconds.append(time.perf_counter() - began)
    return float(np.median(seconds)), result


def reference_of(problem: Problem, heads: list[jax.Array]) -> list[np.ndarray]:
    """Output and gradients of the first head, by the reference in float32."""
    _, with_gradients = programs("masked", problem)
    with jax.default_matmul_precision("highest"):
        found = with_gradients(*(x[:, :, :1].astype(jnp.float32) for x in heads))
    return [np.asarray(x) for x in found]


def torch_varlen(
    lengths: list[list[int]], shape: tuple[int, int], repeats: int
) -> tuple[float, float] | str:
    """Seconds of torch's varlen attention, forward, and forward and backward; or why it is missing.

    shape: heads, head size.
    """
    try:
        import torch
        from torch.nn.attention.varlen import varlen_attn
    except ImportError as error:
        return f"not there: {error}"
    if not torch.cuda.is_available():
        return "not there: torch sees no GPU"
    flat = [n for row in lengths for n in row]
    ends = torch.tensor(np.cumsum([0, *flat]), dtype=torch.int32, device="cuda")
    make = lambda: torch.randn(
        sum(flat), *shape, device="cuda", dtype=torch.bfloat16, requires_grad=True
    )
    heads, most = (make(), make(), make()), max(flat)

    def seconds(step: Callable[[], Any]) -> float:
        step()
        taken = []
        for _ in range(repeats):
            torch.cuda.synchronize()
            began = time.perf_counter()
            step()
            torch.cuda.synchronize()
            taken.append(time.perf_counter() - began)
        return float(np.median(taken))

    forward = lambda: varlen_attn(*heads, ends, ends, most, most)
    return seconds(forward), seconds(lambda: forward().sum().backward())


def describe(name: str, forward: float, both: float, flops: float, slowest: float) -> str:
    """A line: times, useful TFLOP/s, and how many times faster than `slowest` seconds."""
    rates = [flops / forward / 1e12, (1 + BACKWARD) * flops / both / 1e12]
    return (
        f"{name:24}{1e3 * forward:10.2f} ms{rates[0]:9.3g} TFLOP/s{1e3 * both:11.2f} ms"
        f"{rates[1]:9.3g} TFLOP/s{slowest / both:8.2f} x"
    )


def compare(
    problems: list[Problem],
    implementations: list[str],
    shape: tuple[int, int, Any],
    repeats: int,
) -> list[str]:
    """Lines of a table. The problems are the same attention, asked for in different ways.

    shape: heads, head size, dtype. Ratios are to the first line that ran.
    """
    segments, (heads, size, dtype) = problems[0].segments, shape
    rows, tokens = segments.query.shape[:2]
    keys = jax.random.split(jax.random.key(0), 4)
    arrays = [jax.random.normal(key, (rows, tokens, heads, size), dtype) for key in keys]
    reference = reference_of(problems[0], arrays)
    flops = 4 * heads * size * useful_pairs(segments)
    lines: list[str] = []
    slowest = 0.0
    for name in implementations:
        for problem in problems[: 1 if name == "masked" else None]:  # it makes no use of orders
            title = f"{name}{problem.name}"
            try:
                result = measure(name, problem, arrays, reference, repeats)
            except jax.errors.JaxRuntimeError as error:  # out of memory
                lines.append(f"{title:24}{str(error).splitlines()[0][:90]}")
                continue
            slowest = slowest or result.both
            line = describe(title, result.forward, result.both, flops, slowest)
            lines.append(f"{line}{result.error:11.1e}{result.gradient_error:9.1e}")
    return lines


def make_problems(tokens: int) -> tuple[list[Problem], list[list[int]]]:
    """The attention that the flags ask for, in one or two ways, and lengths of each row's clips."""
    if flags.FLAGS.side:
        segments = windowed_segments(tokens, flags.FLAGS.side, shifted=True)
        return [Problem("", segments), Problem(" in order", with_orders(segments))], []
    rng = np.random.default_rng(0)
    lengths = [packed_lengths(tokens, flags.FLAGS.segments, rng) for _ in range(flags.FLAGS.rows)]
    ids = jnp.asarray(packed_ids(lengths, tokens))
    most = flags.FLAGS.segments + 1  # and the padding
    return [Problem("", Segments(ids, most=most, causal=flags.FLAGS.causal))], lengths


def main(_: list[str]) -> None:
    """Runs the command line."""
    join_processes(MeshConfig())
    on_cpu = jax.default_backend() == "cpu"
    problems, lengths = make_problems(flags.FLAGS.tokens or (2048 if on_cpu else 16_384))
    heads, size = flags.FLAGS.heads or (2 if on_cpu else 16), flags.FLAGS.head_size
    dtype = jnp.float32 if on_cpu else jnp.bfloat16
    own, reason = resolve("auto")
    rows, tokens = problems[0].segments.query.shape[:2]
    useful = useful_pairs(problems[0].segments)
    print(f"{jax.devices()[0].device_kind}, jax {jax.__version__}; auto is {own}, because {reason}")
    print(f"{rows} x {tokens} tokens, {heads} heads of {size}, {dtype.__name__}", end="; ")
    print(f"{useful / (rows * tokens**2):.0%} of all pairs are useful")
    print(f"{'':24}{'forward':>13}{'forward + backward':>44}{'ratio':>12}{'errors':>9}")
    implementations = list(dict.fromkeys(["masked", "blocked", own]))
    for line in compare(problems, implementations, (heads, size, dtype), flags.FLAGS.repeats):
        print(line)
    if lengths and not flags.FLAGS.causal:
        peer = torch_varlen(lengths, (heads, size), flags.FLAGS.repeats)
        flops = 4 * heads * size * useful
        name = "torch varlen attention "
        if isinstance(peer, str):
            print(name + peer)
        else:
            print(describe(name, peer[0], peer[1], flops, slowest=peer[1]))


if __name__ == "__main__":
    flags.DEFINE_integer("tokens", 0, "of a row; 0: 16384, on a CPU 2048")
    flags.DEFINE_integer("rows", 1, "rows")
    flags.DEFINE_integer("heads", 0, "0: 16, on a CPU 2")
    flags.DEFINE_integer("head_size", 128, "values of a head")
    flags.DEFINE_integer("segments", 64, "clips of a row, at most")
    flags.DEFINE_bool("causal", False, "tokens see the earlier tokens of their clip only")
    flags.DEFINE_integer("side", 0, "cells of a frame's side: a clip in windows instead")
    flags.DEFINE_integer("repeats", 5, "of which the median is shown")
    run_command(main)
