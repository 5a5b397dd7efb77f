"""How fast an autoencoder trains, encodes and decodes: frames/s, MFU and memory.

    python -m tools.bench.autoencoder --config=configs/autoencoder_gpu.py     # on this machine
    python -m tools.bench.autoencoder --config=configs/autoencoder_b.py --topology=h100:1x8

With --topology nothing runs: the programs are compiled for accelerators that this machine lacks,
and their time is predicted as by videodit.plan. Rows are full of clips of random pixels, whose size
is the mean that the last rows of data.views ask for; weights are random.
"""

import json
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from absl import logging as absl_logging

from tools.bench.train import timed
from videodit.command_line import config_from_flags, parse_flags
from videodit.config import Config, ConfigError, MeshConfig, check
from videodit.data.loader import place
from videodit.data.packing import PackedBatch, empty_batch, pack_row, row_of, segment
from videodit.data.patches import full_size
from videodit.entry import run_command
from videodit.flops import Clips, Flops, coder_flops
from videodit.folders import check_file
from videodit.forecasting import hlo
from videodit.forecasting.ahead import abstract_arguments
from videodit.forecasting.clips import FPS, seen_shares, typical_clips
from videodit.forecasting.roofline import predict
from videodit.forecasting.topology import Topology, open_topology, use_no_accelerator
from videodit.forecasting.work import work
from videodit.goodput import device_metrics
from videodit.models.autoencoder import SIZES, patch_values
from videodit.optim import make_optimizer, make_schedule
from videodit.sharding import join_processes, make_mesh, spec
from videodit.step import make_init, make_train_step
from videodit.tasks.autoencoder import AutoencoderTask
from videodit.tasks.registry import is_task
from videodit.tasks.resolve import resolve, resolve_elsewhere

GIB = 2**30
STEPS = 10  # timed steps


class Speed(NamedTuple):
    """Speed of a program on all devices together; mfu and gib are None where they are unknown."""

    program: str
    seconds: float
    frames_per_second: float
    mfu: float | None
    gib: float | None  # peak memory of a device


class Bench:
    """The programs of a config on the current mesh: train, encode and decode."""

    def __init__(self, cfg: Config) -> None:
        self.cfg, self.clips = cfg, typical_clips(cfg)
        self.task = AutoencoderTask(cfg)
        schedule = make_schedule(cfg.optim, cfg.steps)
        self.optimizer = make_optimizer(cfg.optim, schedule, self.task.groups)
        self.programs: dict[str, Any] = {
            "train": make_train_step(self.task, self.optimizer, schedule, cfg.optim),
            "encode": jax.jit(self.task.encode),
            "decode": jax.jit(self.task.decode),
        }

    @property
    def frames(self) -> int:
        """Frames of the clips of a batch."""
        frames = [full_size(tuple(x), self.cfg.autoencoder.patch)[0] for x in self.clips.grids]
        return self.cfg.data.batch_rows * int(sum(frames))

    def flops(self, program: str) -> Flops:
        """FLOPs of a call of a program, in closed form."""
        cfg, rows = self.cfg.autoencoder, self.cfg.data.batch_rows
        if program == "train":
            return self.task.flops(self.clips, self.cfg.steps) * rows
        return coder_flops(SIZES[cfg.size], cfg, self.clips).only() * rows

    def measured(self) -> Iterator[Speed]:
        """Yields the speed of each program on the devices of the mesh."""
        key, batch = jax.random.key(self.cfg.seed), made_up_batch(self.cfg, self.clips)
        frozen = self.task.make_frozen(iter([batch]))
        state = jax.jit(make_init(self.task, self.optimizer))(key, frozen)
        params = jax.tree.map(jnp.copy, state["ema"])  # the train step takes the state's memory
        latents = self.programs["encode"](params, batch)

        def train() -> Any:
            nonlocal state
            state, metrics = self.programs["train"](state, frozen, batch, key)
            return metrics

        runs = {
            "encode": lambda: self.programs["encode"](params, batch),
            "decode": lambda: self.programs["decode"](params, latents, batch),
            "train": train,
        }
        for name, run in runs.items():
            seconds = timed(_waited_for(run), STEPS)["step_seconds"]
            known = device_metrics(self.flops(name), seconds)
            speed = self.frames / seconds
            yield Speed(name, seconds, speed, known.get("mfu"), known.get("memory_gib"))

    def predicted(self, topology: Topology) -> Iterator[Speed]:
        """Yields the predicted speed of each program, compiled for the topology of the mesh."""
        mesh, chip = jax.sharding.get_mesh(), topology.chip
        state, frozen, batch, key = abstract_arguments(self.cfg, self.task, self.optimizer)
        latents = _abstract_latents(batch.tokens, self.task.channels)
        arguments = {
            "encode": (state["ema"], batch),
            "decode": (state["ema"], latents, batch),
            "train": (state, frozen, batch, key),
        }
        coders = self.task.stacks(self.clips, self.cfg.steps)[0]
        seen = seen_shares(self.cfg, coders, chip.platform)
        for name, values in arguments.items():
            compiled = self.programs[name].lower(*values).compile()
            done = work(hlo.parse(compiled.as_text()), mesh, seen)
            seconds = predict(done, chip, mesh).step
            mfu = self.flops(name).useful / seconds / chip.peak / mesh.size
            yield Speed(name, seconds, self.frames / seconds, mfu, _gib(compiled))


def made_up_batch(cfg: Config, clips: Clips) -> PackedBatch:
    """Rows full of such clips, of random pixels, on the current mesh; all rows are equal."""
    data, patch, rng = cfg.data, cfg.autoencoder.patch, np.random.default_rng(0)
    batch = empty_batch(
        data.batch_rows,
        patch_values(patch),
        row_tokens=data.row_tokens,
        text_tokens=data.text_tokens,
        max_segments=data.max_segments,
    )
    sizes = [full_size(tuple(grid), patch) for grid in clips.grids.tolist()]
    made = [rng.integers(0, 256, (*size, 3), np.uint8) for size in sizes]
    segments = [
        segment(frames, patch=patch, fps=FPS, text_ids=(), sample_id=i, clip_id=i)
        for i, frames in enumerate(made)
    ]
    pack_row(segments, row_of(batch, 0), patch=patch)
    for values in batch:
        values[1:] = values[:1]
    return place(batch)


def describe(speed: Speed) -> str:
    """One line of the table."""
    line = (
        f"{speed.program:8}{1e3 * speed.seconds:10.1f} ms{speed.frames_per_second:12,.0f} frames/s"
    )
    line += "" if speed.mfu is None else f"   MFU {speed.mfu:6.1%}"
    return line + ("" if speed.gib is None else f"   {speed.gib:6.2f} GiB")


def _waited_for(run: Callable[[], Any]) -> Callable[[], float]:
    """A function for `timed` that calls `run` and waits for its result."""

    def wait() -> float:
        values = run()
        called = time.perf_counter()
        jax.block_until_ready(values)
        return called

    return wait


def _abstract_latents(tokens: jax.ShapeDtypeStruct, channels: int) -> jax.ShapeDtypeStruct:
    """Latents B L C of abstract tokens B L P."""
    axes = spec("batch", "length", None) or jax.sharding.PartitionSpec()
    sharding = jax.sharding.NamedSharding(jax.sharding.get_mesh(), axes)
    return jax.ShapeDtypeStruct((*tokens.shape[:2], channels), jnp.float32, sharding=sharding)


def _gib(compiled: Any) -> float:
    """Memory of a device while a program runs; arguments that become results count once."""
    x = compiled.memory_analysis()
    results = x.output_size_in_bytes - x.alias_size_in_bytes
    return (x.argument_size_in_bytes + results + x.temp_size_in_bytes) / GIB


def run(cfg: Config, topology: str) -> list[Speed]:
    """Prints and returns the speeds, on `topology` or on this machine. Raises ConfigError."""
    check(is_task(cfg, AutoencoderTask), "task", cfg.task, "an autoencoder's config")
    there = open_topology(topology) if topology else None
    if there and not there.chip.peak:
        raise ConfigError(f"--topology={topology!r}: expected an accelerator")
    with jax.set_mesh(make_mesh(cfg.mesh, there.devices if there else None)):
        cfg = resolve_elsewhere(cfg) if there else resolve(cfg)
        bench = Bench(cfg)
        frames, height, width = full_size(
            tuple(bench.clips.grids[0].tolist()), cfg.autoencoder.patch
        )
        print(
            f"size {cfg.autoencoder.size}, {cfg.data.batch_rows} rows x {cfg.data.row_tokens} "
            f"tokens, clips of {frames} frames of {width}x{height}; {topology or 'this machine'}"
        )
        found = []
        for speed in bench.predicted(there) if there else bench.measured():
            print(describe(speed), flush=True)
            found.append(speed)
    return found


def main(_: list[str]) -> None:
    """Runs the command line. Raises ConfigError."""
    absl_logging.set_verbosity(absl_logging.WARNING)
    logging.getLogger("videodit").setLevel(logging.INFO)
    if flags.FLAGS.out:
        check_file(flags.FLAGS.out, "--out")
    if flags.FLAGS.topology:
        use_no_accelerator()
    else:
        join_processes(MeshConfig())
    found = run(config_from_flags(), flags.FLAGS.topology)
    if flags.FLAGS.out:
        text = json.dumps([speed._asdict() for speed in found], indent=2)
        Path(flags.FLAGS.out).write_text(text + "\n")


if __name__ == "__main__":
    flags.DEFINE_string("topology", "", "such as h100:1x8: compile for it and predict")
    flags.DEFINE_string("out", "", "a .json file for the figures")
    flags.mark_flag_as_required("config")
    run_command(main, parse_flags)
