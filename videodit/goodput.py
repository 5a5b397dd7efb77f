"""Where the wall time of a run goes, how fast its devices work, and how often it compiled."""

import functools
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax

from videodit.files import append_record, read_records
from videodit.flops import Flops
from videodit.metrics import FILE as METRICS

FILE = "goodput.jsonl"
COMPILE_EVENT = "/jax/core/compile/backend_compile_duration"
KINDS = ("start", "data", "evaluate", "save")
WAITS = ("data", "save")  # kinds whose shares of the time are metrics of a step
TOTALS = (*KINDS, "compile", "train", "lost", "restart")  # seconds in every line of FILE
FIELDS = {"step": int, "first": int} | dict.fromkeys((*TOTALS, "began", "time"), float)

# bfloat16 FLOP/s of a device without sparsity, from vendors' data sheets; keys: jax's device_kind.
PEAK_FLOPS = {
    "TPU v4": 275e12,
    "TPU v5 lite": 197e12,
    "TPU v5": 459e12,
    "TPU v5p": 459e12,
    "TPU v6 lite": 918e12,
    "TPU7x": 2307e12,
    "NVIDIA A100-SXM4-40GB": 312e12,
    "NVIDIA A100-SXM4-80GB": 312e12,
    "NVIDIA H100 80GB HBM3": 989e12,
    "NVIDIA H100 PCIe": 756e12,
    "NVIDIA H100 NVL": 835e12,
    "NVIDIA H200": 989e12,
    "NVIDIA GH200 480GB": 989e12,
    "NVIDIA B200": 2250e12,
}
logger = logging.getLogger(__name__)


class Goodput:
    """Sorts the seconds of this process by kind, from its creation at `began` (unix seconds) on.

    Time that is neither one of KINDS nor compilation is "train": the loop waits for its steps.
    """

    def __init__(self) -> None:
        self.began = time.time()
        self._began, self._compiled = time.perf_counter(), compilation()["seconds"]
        self._seconds = dict.fromkeys(KINDS, 0.0)
        self._last = {"time": self._began} | dict.fromkeys(WAITS, 0.0)  # at the last `waits()`

    def started(self) -> None:
        """Books all time so far, except compilation, as start-up."""
        compiled = compilation()["seconds"] - self._compiled
        self._seconds["start"] = time.perf_counter() - self._began - compiled

    def waits(self) -> dict[str, float]:
        """The shares of the time since the last call in which the loop waited for data and saves.

        A save continues in the background, and the next save waits for it.
        """
        last = self._last
        self._last = {"time": time.perf_counter()} | {x: self._seconds[x] for x in WAITS}
        spent = {name: now - last[name] for name, now in self._last.items()}
        return {f"{name}_wait": spent[name] / max(spent["time"], 1e-9) for name in WAITS}

    @contextmanager
    def spent_on(self, kind: str) -> Iterator[None]:
        """Books the time inside the block, except compilation, as `kind`, one of KINDS."""
        began, compiled = time.perf_counter(), compilation()["seconds"]
        yield
        compiled = compilation()["seconds"] - compiled
        self._seconds[kind] += max(time.perf_counter() - began - compiled, 0.0)

    def seconds(self) -> dict[str, float]:
        """Seconds by kind, their sum "total", and the share "goodput" of "train" in it."""
        total = time.perf_counter() - self._began
        spent = {**self._seconds, "compile": compilation()["seconds"] - self._compiled}
        train = max(total - sum(spent.values()), 0.0)
        return {**spent, "train": train, "total": total, "goodput": train / max(total, 1e-9)}

    def write(self, workdir: str | os.PathLike, step: int, life: dict[str, float]) -> None:
        """Appends the seconds by kind after `step` steps to workdir/goodput.jsonl, on process 0.

        life: what `begin_life` returned. Each line holds totals, so the last line of a process
        describes the whole process.
        """
        if jax.process_index() == 0:
            line = {**life, "step": step, "time": time.time(), **self.seconds()}
            append_record(Path(workdir) / FILE, line)


def begin_life(workdir: str | os.PathLike, first: int, began: float) -> dict[str, float]:
    """Figures of the earlier processes of a run, for one that continues after `first` steps.

    Call it before the process writes metrics. `began`: that of its `Goodput`. Returns `began` and
    `first`, and: lost_steps, the steps after `first` that an earlier process had trained; lost, the
    seconds it spent on them; restart, the seconds from its last metrics until `began`.
    """
    written = read_records(Path(workdir) / METRICS, {"step": int, "kind": str, "time": float})
    trained = [line for line in written if line["kind"] == "train"]
    lines = _valid(_read(workdir), first)
    ended = max((line["time"] for line in (*lines, *trained)), default=began)
    saved = max(
        (line["time"] for line in lines), default=min([ended, *(line["time"] for line in trained)])
    )
    lost_steps = max([0, *(line["step"] - first for line in trained)])
    lost = ended - saved if lost_steps else 0.0
    facts = {"began": began, "first": first, "lost_steps": lost_steps}
    return {**facts, "lost": lost, "restart": began - ended}


def total_goodput(workdir: str | os.PathLike) -> dict[str, float]:
    """Seconds by kind, summed over all processes of a run, from its goodput.jsonl.

    The sum "total" includes lost time and the time between processes; "goodput" is the share of
    "train" in it.
    """
    kept: list[dict] = []
    for line in _read(workdir):
        same = kept and kept[-1]["began"] == line["began"]
        kept = [*(kept if same else _valid(kept, line["first"])), line]
    lives = {line["began"]: line for line in kept}.values()
    spent = {kind: sum(life[kind] for life in lives) for kind in TOTALS}
    total = sum(spent.values())
    return {**spent, "total": total, "goodput": spent["train"] / max(total, 1e-9)}


def _read(workdir: str | os.PathLike) -> list[dict]:
    """The lines of goodput.jsonl in the order written; damaged ones are left out."""
    return read_records(Path(workdir) / FILE, FIELDS)


def _valid(lines: list[dict], first: int) -> list[dict]:
    """The lines that hold for a run that continues after `first` steps.

    Later lines belong to steps whose checkpoint was never finished.
    """
    return [line for line in lines if line["step"] <= first]


@functools.cache
def compilation() -> dict[str, float]:
    """The count and seconds of XLA compilations in this process since the first call."""
    total = {"count": 0, "seconds": 0.0}

    def listen(event: str, duration_secs: float, **_: Any) -> None:
        if event == COMPILE_EVENT:
            total["count"] += 1
            total["seconds"] += duration_secs

    jax.monitoring.register_event_duration_secs_listener(listen)
    return total


def device_metrics(flops: Flops, step_seconds: float) -> dict[str, float]:
    """How well a device works: useful "tflops" (TFLOP/s), "mfu", "hfu", peak "memory_gib".

    flops: those of a step on all devices. mfu is the useful share of the device's peak; hfu also
    counts what is recomputed for the backward pass. mfu, hfu and memory are left out if unknown.
    """
    device, mesh = jax.local_devices()[0], jax.sharding.get_mesh()
    device_seconds = max(step_seconds, 1e-9) * max(mesh.size, 1)
    values = {"tflops": flops.useful / device_seconds / 1e12, "compiles": compilation()["count"]}
    if peak := PEAK_FLOPS.get(device.device_kind):
        values["mfu"] = flops.useful / device_seconds / peak
        values["hfu"] = flops.computed / device_seconds / peak
    elif device.platform != "cpu":
        _say_unknown(device.device_kind)
    if stats := device.memory_stats():
        values["memory_gib"] = stats["peak_bytes_in_use"] / 2**30
    return values


@functools.cache
def _say_unknown(kind: str) -> None:
    logger.warning("no MFU: goodput.PEAK_FLOPS does not contain the peak of %r", kind)
