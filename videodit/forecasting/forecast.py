"""What the train step of a config needs on a topology: memory, FLOPs, time, exchanges."""

import contextlib
import importlib.metadata
import time
from collections import defaultdict
from typing import NamedTuple

import jax
from clu import parameter_overview

from videodit.config import Config
from videodit.data.tokenizer import Tokenizer
from videodit.flops import Flops, StackRun, total_flops
from videodit.forecasting import hlo
from videodit.forecasting.ahead import Memory, compile_step, lower_step
from videodit.forecasting.chips import Chip
from videodit.forecasting.clips import seen_shares, typical_clips
from videodit.forecasting.roofline import Times, predict
from videodit.forecasting.topology import Topology
from videodit.forecasting.work import Collective, Work, work
from videodit.sharding import make_mesh
from videodit.tasks.registry import make_task

OPTIONS = {  # faster compilation of machine code that is not run; the program stays the same
    "cpu": {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True},
}
COMPILERS = {  # packages that compile a program, beside jaxlib, by platform
    "tpu": ("libtpu",),
    "cuda": ("jax-cuda12-pjrt", "nvidia-cuda-nvcc-cu12", "nvidia-cudnn-cu12"),
}
STORED = {"ema": "average", "matmuls": "products"}  # other names in files of figures, which stay
Exchange = tuple[str, tuple[str, ...], int]  # kind, axes and ways of a Collective


class Forecast(NamedTuple):
    """A train step on all chips; fields that say so are of one chip."""

    cfg: Config  # as tasks/resolve.py gives it
    topology: Topology
    mesh: jax.sharding.Mesh
    parameters: int
    stack: StackRun  # the stack that most of the work is in, over the clips of a row
    flops_per_token: Flops  # by closed forms, which count only pairs of one clip
    clip_tokens: int
    memory: Memory  # of a chip
    work: Work | None  # of a chip; None if XLA refused the program
    compile_seconds: float

    @property
    def chip(self) -> Chip:
        return self.topology.chip

    @property
    def fits(self) -> bool:
        return self.work is not None and self.memory.total <= self.chip.memory

    @property
    def times(self) -> Times | None:
        """Seconds of a step by part; None if the program or the chip's speed is not known."""
        if self.work is None or not self.chip.peak:
            return None
        return predict(self.work, self.chip, self.mesh)

    @property
    def tokens(self) -> int:
        """Vision tokens of a step, padding included."""
        return self.cfg.data.batch_rows * self.cfg.data.row_tokens

    @property
    def speed(self) -> float:
        """Predicted vision tokens/s of a chip; 0 if not known."""
        return self.tokens / self.times.step / self.mesh.size if self.times else 0.0

    def figures(self) -> dict:
        """Everything by name, ready for JSON."""
        return {
            "topology": self.topology.name,
            "chips": self.mesh.size,
            "mesh": dict(self.mesh.shape),
            "row_tokens": self.cfg.data.row_tokens,
            "batch_rows": self.cfg.data.batch_rows,
            "text_tokens": self.cfg.data.text_tokens,
            "clip_tokens": self.clip_tokens,
            "remat": self.cfg.compute.remat,
            "accumulate": self.cfg.optim.accumulate,
            "parameters": self.parameters,
            "flops_per_token": self.flops_per_token.useful,
            "bytes": _stored(self.memory._asdict()),
            "bytes_total": self.memory.total,
            "bytes_of_chip": self.chip.memory,
            "fits": self.fits,
            **self._speeds(),
            "collectives": [x._asdict() for x in by_axes(self.work)] if self.work else [],
            "compile_seconds": self.compile_seconds,
            "versions": versions(self.chip.platform),
        }

    def _speeds(self) -> dict:
        times, done = self.times, self.work
        if times is None or done is None:
            return {}
        peak = self.chip.peak * self.mesh.size
        return {
            "seconds": {**_stored(times._asdict()), "step": times.step},
            "tokens_per_second": self.tokens / times.step,
            "mfu": self.flops_per_token.useful * self.tokens / times.step / peak,
            "hfu": self.flops_per_token.computed * self.tokens / times.step / peak,
            "kernel_flops": done.flops,
            "hbm_bytes": done.bytes,
            "host_bytes": done.host_bytes,
            "steps": self.cfg.steps,
            "run_tokens": self.cfg.steps * self.tokens,
            "chip_hours": self.cfg.steps * times.step * self.mesh.size / 3600,
        }


def _stored(values: dict[str, float]) -> dict[str, float]:
    """The values of a `Memory` or of `Times` by their names in files of figures."""
    return {STORED.get(name, name): value for name, value in values.items()}


def forecast(
    cfg: Config, topology: Topology, tokenizer: Tokenizer, clip_tokens: int = 0
) -> Forecast:
    """Compiles the train step of `cfg` for `topology`. Raises ConfigError for a bad mesh.

    clip_tokens: vision tokens of each of the clips that fill the rows; 0: forecasting/clips.py
    guesses.
    """
    mesh = make_mesh(cfg.mesh, topology.devices)
    began = time.perf_counter()
    lowered, arguments = lower_step(cfg, mesh, tokenizer)
    compiled, memory = compile_step(cfg, lowered, arguments, OPTIONS.get(topology.chip.platform))
    seconds = time.perf_counter() - began
    clips, done = typical_clips(cfg, clip_tokens), None
    with jax.set_mesh(mesh):
        stacks = make_task(cfg, tokenizer).stacks(clips, cfg.steps)
    if compiled is not None:
        seen = seen_shares(cfg, stacks[0], topology.chip.platform)
        done = work(hlo.parse(compiled.as_text() or ""), mesh, seen)
    return Forecast(
        cfg=cfg,
        topology=topology,
        mesh=mesh,
        parameters=int(parameter_overview.count_parameters(arguments[0]["params"])),
        stack=stacks[0],
        flops_per_token=total_flops(stacks) * (1 / clips.tokens.sum()),
        clip_tokens=int(clips.tokens[0]),
        memory=memory,
        work=done,
        compile_seconds=seconds,
    )


def versions(platform: str) -> dict[str, str]:
    """Versions of the installed packages that compile a program for this platform."""
    found = {}
    for name in ("jax", "jaxlib", *COMPILERS.get(platform, ())):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def by_axes(work: Work) -> list[Collective]:
    """The collectives of a step, one for each kind and axes: their number and their total bytes."""
    times: defaultdict[Exchange, float] = defaultdict(float)
    sizes: defaultdict[Exchange, float] = defaultdict(float)
    for x in work.collectives:
        key = (x.kind, x.axes, x.ways)
        times[key] += x.times
        sizes[key] += x.times * x.bytes
    return [Collective(*key, sizes[key], times[key]) for key in sorted(times)]
