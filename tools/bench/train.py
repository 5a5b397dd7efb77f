"""The DiT's train step, side by side with a PyTorch DiT of the same shape, on the same clips.

    python -m tools.bench.train                       # tiny on a CPU, --size=XL on an accelerator
    python -m tools.bench.train --profile             # and where the time goes, by kind of kernel
    python -m tools.bench.train --size=1.5B --rows=4 --remat=attention

Rows are packed with captioned clips of arbitrary lengths. Both models train in bfloat16 with rotary
positions, QK-norm, cross-attention, AdamW and an EMA of the weights; only real tokens count. The
peer (tools/bench/torch_dit.py, if PyTorch is installed) runs the same rows with attention of
variable lengths, and the same clips padded to powers of two.
"""

import dataclasses
import json
import math
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from videodit.config import (
    ComputeConfig,
    ConfigError,
    DiTConfig,
    MeshConfig,
    OptimConfig,
)
from videodit.data.packing import HostBatch, PackedBatch, empty_batch
from videodit.diffusion import flow
from videodit.entry import run_command
from videodit.flops import Flops, all_pairs, stack_flops
from videodit.folders import check_file
from videodit.goodput import device_metrics
from videodit.models.dit import SIZES, DiT
from videodit.nn.block import StackShape
from videodit.nn.functional import functional
from videodit.nn.kernel_check import resolve_attention
from videodit.optim import make_optimizer, make_schedule
from videodit.sharding import join_processes
from videodit.step import make_init, make_train_step
from videodit.tasks.task import Task
from videodit.tasks.views import (
    clip_segments,
    noise_slots,
    slot_levels,
    token_fractions,
    token_levels,
)

ON_CPU = {"size": "smoke", "rows": 2, "row_tokens": 256, "steps": 3}
ELSEWHERE = {"size": "XL", "rows": 8, "row_tokens": 4096, "steps": 10}
MOST_SEGMENTS = 64  # clips of a row, at most
CHANNELS, TEXT_WIDTH = 48, 768
CAPTION = (20, 200)  # tokens: least, most
IMAGES = 0.3  # share of the clips
WARM_UP = 2  # steps
KINDS = {  # kinds of kernels, by words in their names; the first that fits
    "attention": ("fmha", "flash", "cudnn", "attention", "splash"),
    "matmuls": ("gemm", "dot", "cublas", "cutlass", "xmma", "nvjet", "convolution"),
    "reductions": ("reduce", "softmax", "norm"),
    "copies": ("copy", "memcpy", "memset", "transpose", "convert", "dynamic_update", "slice"),
}


# Does a step, waits for it, and returns the perf_counter at which the device had its work.
Run = Callable[[], float]
Table = dict[str, tuple[float, int]]  # by name of kernels: their seconds and number


class Rows(NamedTuple):
    """Packed rows, as lengths."""

    tokens: list[list[int]]  # for each row, the tokens of its clips
    captions: list[list[int]]  # for each row, the tokens of their captions
    length: int  # tokens of a row

    def clips(self) -> tuple[np.ndarray, np.ndarray]:
        """Tokens and caption tokens of all clips of all rows."""
        return np.concatenate(self.tokens), np.concatenate(self.captions)


def made_up_rows(rows: int, length: int, seed: int = 0) -> Rows:
    """Rows of `length` tokens; each takes those of many random clips that still fit.

    Three in ten clips are images of up to 1/16 of a row; the others have a log-normal length with
    a median of 1/10 of a row.
    """
    rng = np.random.default_rng(seed)

    def clip() -> int:
        if rng.random() < IMAGES:
            return int(rng.integers(length // 128 + 2, length // 16 + 3))
        return int(length / 10 * rng.lognormal(sigma=0.9)) + 1

    def row() -> list[int]:
        found: list[int] = []
        for _ in range(300):
            tokens = clip()
            if sum(found) + tokens <= length and len(found) < MOST_SEGMENTS:
                found.append(tokens)
        return found

    tokens = [row() for _ in range(rows)]
    captions = [[int(rng.integers(*CAPTION)) for _ in clips] for clips in tokens]
    return Rows(tokens, captions, length)


def packed_batch(rows: Rows, seed: int = 0) -> HostBatch:
    """The rows as a batch of random latents; every fourth token of a clip is given."""
    rng = np.random.default_rng(seed)
    text_tokens = 64 * math.ceil(max(map(sum, rows.captions)) / 64)
    batch = empty_batch(
        len(rows.tokens),
        CHANNELS,
        row_tokens=rows.length,
        text_tokens=text_tokens,
        max_segments=MOST_SEGMENTS,
        dtype=np.float32,
    )
    batch.tokens[:] = rng.normal(size=batch.tokens.shape)
    batch.positions[:] = rng.uniform(0, 16, batch.positions.shape)
    batch.given[:] = np.arange(rows.length) % 4 == 0
    for b, (tokens, captions) in enumerate(zip(rows.tokens, rows.captions)):
        numbers = np.arange(1, len(tokens) + 1)
        batch.segment_ids[b, : sum(tokens)] = np.repeat(numbers, tokens)
        batch.text_segment_ids[b, : sum(captions)] = np.repeat(numbers, captions)
        batch.sample_ids[b, : len(tokens)] = batch.clip_ids[b, : len(tokens)] = numbers
        batch.valid[b, : len(tokens)] = True
        batch.slot_segments[b, : 2 * len(tokens)] = np.repeat(numbers, 2)
    slots = 2 * (batch.segment_ids - 1) + batch.given
    batch.noise_slot_ids[:] = np.where(batch.segment_ids > 0, slots, -1)
    batch.slot_given[:, 1::2] = batch.slot_segments[:, 1::2] > 0
    return batch


class DiTAlone(Task):
    """Trains the DiT alone, on random latents and text vectors."""

    def __init__(self, shape: StackShape, compute: ComputeConfig) -> None:
        make = lambda rngs: DiT(DiTConfig(), shape, CHANNELS, TEXT_WIDTH, compute, rngs=rngs)
        self.init_dit, self.apply = functional(make, compute.dtype)

    def init(self, key: jax.Array, frozen: Any) -> Any:
        """The DiT's parameters."""
        return {"dit": self.init_dit(key)}

    def weights(self, batch: PackedBatch) -> jax.Array:
        """Equal weights B L of all tokens that are not given."""
        wanted = (batch.segment_ids > 0) & ~batch.given
        return wanted / wanted.sum()

    def loss(
        self,
        params: Any,
        frozen: Any,
        batch: PackedBatch,
        weights: jax.Array,
        key: jax.Array,
        step: jax.Array,
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The flow matching loss."""
        level_key, noise_key = jax.random.split(key)
        levels = slot_levels(batch, jax.random.uniform(level_key, batch.valid.shape))
        noise = jax.random.normal(noise_key, batch.tokens.shape)
        xt = flow.interpolate(batch.tokens, noise, token_levels(batch, levels))
        places = batch.positions, token_fractions(batch), clip_segments(batch)
        text = frozen["text"], batch.text_segment_ids
        velocity = self.apply(params["dit"], xt, noise_slots(batch, levels), *places, *text)
        error = jnp.square(velocity - flow.velocity(batch.tokens, noise)).mean(-1)
        return (weights * error).sum(), {}


def run_jax(
    rows: Rows, shape: StackShape, compute: ComputeConfig, steps: int, profile: bool = False
) -> dict[str, Any]:
    """Figures, by name, of the train step of training (videodit/step.py).

    With `profile` they include those of its kernels, see `profiled`.
    """
    task: Task = DiTAlone(shape, compute)  # type: ignore[abstract]  # it is never evaluated
    cfg = OptimConfig()
    schedule = make_schedule(cfg, steps=1000)
    optimizer = make_optimizer(cfg, schedule, task.groups)
    batch = jax.device_put(packed_batch(rows))
    key = jax.random.key(0)
    text_shape = (*batch.text_segment_ids.shape, TEXT_WIDTH)
    frozen = {"text": jax.random.normal(key, text_shape, compute.dtype)}
    state = jax.jit(make_init(task, optimizer))(key, frozen)
    step = make_train_step(task, optimizer, schedule, cfg)

    def run() -> float:
        nonlocal state
        state, metrics = step(state, frozen, batch, key)
        called = time.perf_counter()
        jax.block_until_ready(metrics)
        return called

    began = time.perf_counter()
    run()
    figures: dict[str, Any] = {"compile_seconds": time.perf_counter() - began}
    figures |= timed(run, steps)
    if profile:
        figures["kernels"] = profiled(run)
    return figures


def timed(run: Run, steps: int) -> dict[str, float]:
    """Median seconds of a call of `run`, and until the device had its work, over `steps` calls."""
    for _ in range(WARM_UP):
        run()
    whole, dispatch = [], []
    for _ in range(steps):
        began = time.perf_counter()
        called = run()
        whole.append(time.perf_counter() - began)
        dispatch.append(called - began)
    return {"step_seconds": float(np.median(whole)), "dispatch_seconds": float(np.median(dispatch))}


def profiled(run: Run) -> dict[str, Table]:
    """Seconds and number of the kernels of a call: of each "kinds", and of the "longest"."""
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            run()
        file = max(Path(folder).rglob("*.xplane.pb"))
        events = list(_kernels(jax.profiler.ProfileData.from_file(str(file))))
    kinds: Table = {}
    names: Table = {}
    for name, seconds in events:
        for table, entry in ((kinds, kind_of(name)), (names, name)):
            total, count = table.get(entry, (0.0, 0))
            table[entry] = (total + seconds, count + 1)
    ordered = lambda table: dict(sorted(table.items(), key=lambda item: -item[1][0]))
    longest = dict(list(ordered(names).items())[:20])
    return {"kinds": ordered(kinds), "longest": longest}


def kind_of(name: str) -> str:
    """The kind of a kernel by its name; "elementwise" where nothing tells."""
    low = name.lower()
    for kind, words in KINDS.items():
        if any(word in low for word in words):
            return kind
    return "elementwise"


def _kernels(profile: Any) -> Iterator[tuple[str, float]]:
    """Yields (name, seconds) of the kernels that the device, or the threads of a CPU, ran."""
    planes = [plane for plane in profile.planes if "/device:" in plane.name]
    lines = [line for plane in planes for line in plane.lines]
    chosen = [line for line in lines if line.name.startswith(("Stream", "XLA Ops"))]
    if not planes:
        lines = [line for plane in profile.planes for line in plane.lines]
        chosen = [line for line in lines if "XLA" in line.name]
    for line in chosen:
        for event in line.events:
            if "::" not in event.name and not event.name.startswith("end: "):
                yield event.name, event.duration_ns / 1e9


def shape_of(size: str, depth: int | None) -> StackShape:
    """The named size, with `depth` if it is given. Raises ConfigError for an unknown size."""
    if size not in SIZES:
        raise ConfigError(f"--size={size!r}: expected one of {', '.join(SIZES)}")
    return SIZES[size]._replace(depth=depth or SIZES[size].depth)


def step_flops(rows: Rows, shape: StackShape, remat: str) -> Flops:
    """FLOPs of a step over the real tokens of the rows."""
    tokens, captions = rows.clips()
    forward = stack_flops(shape, tokens, all_pairs(tokens), captions, TEXT_WIDTH)
    return forward.trained(remat)


def describe(name: str, figures: dict[str, Any], tokens: int, flops: Flops) -> str:
    """One line of the table."""
    seconds = figures["step_seconds"]
    metrics = device_metrics(flops, seconds)
    parts = [
        f"{name:22} step {1e3 * seconds:9.1f} ms ({1e3 * figures['dispatch_seconds']:.1f} ms until "
        f"handed over)  {tokens / seconds:11,.0f} tokens/s  {metrics['tflops']:8.3f} TFLOP/s"
    ]
    parts += [f"{what} {metrics[what]:.1%}" for what in ("mfu", "hfu") if what in metrics]
    parts += [f"{figures['memory_gib']:.1f} GiB"] if "memory_gib" in figures else []
    return "  ".join(parts)


def run_peers(rows: Rows, shape: StackShape, steps: int) -> dict[str, dict[str, Any]]:
    """Figures of PyTorch's DiT by variant; if PyTorch is missing, says so and returns {}."""
    try:
        from tools.bench import torch_dit
    except ImportError as error:
        print(f"no peer: {error}")
        return {}
    found = {}
    for name, batches in (
        ("torch, varlen", [packed_batch(rows)]),
        ("torch, padded", list(padded_batches(rows))),
    ):
        packed = name == "torch, varlen"
        run = torch_dit.make_step(batches, shape, CHANNELS, TEXT_WIDTH, MOST_SEGMENTS, packed)
        found[name] = timed(run, steps) | torch_dit.memory()
        del run
        torch_dit.release()
    return found


def padded_batches(rows: Rows) -> Iterator[HostBatch]:
    """Yields the same clips, one in a row, with a batch for each power of two."""
    tokens, captions = rows.clips()
    lengths = 2 ** np.ceil(np.log2(tokens)).astype(int)
    for length in np.unique(lengths):
        chosen = np.flatnonzero(lengths == length)
        one_each = Rows([[t] for t in tokens[chosen]], [[c] for c in captions[chosen]], int(length))
        yield packed_batch(one_each)


def main(_: list[str]) -> None:
    """Runs the command line. Raises ConfigError."""
    if flags.FLAGS.out:
        check_file(flags.FLAGS.out, "--out")
    join_processes(MeshConfig())
    run_all()


def run_all() -> None:
    """Runs and prints what the flags ask for. Raises ConfigError."""
    args = flags.FLAGS
    defaults: dict[str, Any] = ON_CPU if jax.default_backend() == "cpu" else ELSEWHERE
    chosen = {name: args[name].value or value for name, value in defaults.items()}
    shape = shape_of(chosen["size"], args.depth)
    compute = resolve_attention(
        ComputeConfig(
            remat=args.remat,
            unroll=args.unroll or shape.depth,
            matmul=args.matmul,
            attention=args.attention,
        )
    )
    rows = made_up_rows(chosen["rows"], chosen["row_tokens"])
    tokens = int(sum(map(sum, rows.tokens)))
    fill = tokens / (chosen["rows"] * chosen["row_tokens"])
    print(f"{shape}, {compute}")
    print(f"{tokens} tokens in {len(rows.clips()[0])} clips; rows are {fill:.1%} full")
    # First the peer, because jax does not give back memory of a GPU that it has taken.
    peers = run_peers(rows, shape, chosen["steps"]) if args.peer else {}
    own = run_jax(rows, shape, compute, chosen["steps"], args.profile)
    flops = step_flops(rows, shape, compute.remat)
    known = device_metrics(flops, 1.0)
    own |= {name: known[name] for name in ("memory_gib",) if name in known}
    print(describe("videodit", own, tokens, flops), flush=True)
    unremat = dataclasses.replace(flops, computed=flops.useful)
    for name, figures in peers.items():
        ratio = figures["step_seconds"] / own["step_seconds"]
        line = describe(name, figures, tokens, unremat)
        print(f"{line}  videodit is {ratio:.2f} x as fast", flush=True)
    if args.profile:
        print(kernel_table(own["kernels"]))
    if args.out:
        Path(args.out).write_text(json.dumps({"videodit": own} | peers, indent=2) + "\n")


def kernel_table(kernels: dict[str, Table]) -> str:
    """Lines that tell where the time of a step goes."""
    rows = [("kind", kernels["kinds"]), ("longest", kernels["longest"])]
    lines = []
    for title, table in rows:
        lines.append(f"{title:72}{'ms':>9}{'kernels':>9}")
        for name, (seconds, count) in table.items():
            lines.append(f"  {name[:70]:70}{1e3 * seconds:9.3f}{count:9d}")
    return "\n".join(lines)


if __name__ == "__main__":
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # the peer needs some too
    flags.DEFINE_string("size", None, "A row of models/dit.py:SIZES.")
    flags.DEFINE_integer("depth", None, "Layers, instead of the size's.")
    flags.DEFINE_integer("rows", None, "Rows of a step.")
    flags.DEFINE_integer("row_tokens", None, "Tokens of a row.")
    flags.DEFINE_integer("steps", None, "Steps that are timed.")
    flags.DEFINE_string("remat", "products", "compute.remat")
    flags.DEFINE_integer("unroll", 0, "compute.unroll; 0: all layers.")
    flags.DEFINE_string("matmul", "", "compute.matmul")
    flags.DEFINE_string("attention", "auto", "compute.attention")
    flags.DEFINE_bool("profile", False, "Print the time of each kind of kernel.")
    flags.DEFINE_bool("peer", True, "Run PyTorch's too, if it is installed.")
    flags.DEFINE_string("out", "", "A .json file for the figures.")
    run_command(main)
