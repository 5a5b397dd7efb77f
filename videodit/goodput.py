"""Where the wall time of a run goes, how fast its devices work, and how often it compiled."""

import functools
import json
import os
import time
from contextlib import contextmanager
from pathlib import Path

import jax

FILE = "goodput.jsonl"
COMPILE_EVENT = "/jax/core/compile/backend_compile_duration"
KINDS = ("start", "data", "evaluate", "save")

# bfloat16 FLOP/s of a device without sparsity, by jax's name of it: vendors' data sheets.
PEAK_FLOPS = {
    "TPU v4": 275e12,
    "TPU v5 lite": 197e12,
    "TPU v5": 459e12,
    "TPU v5p": 459e12,
    "TPU v6 lite": 918e12,
    "NVIDIA A100-SXM4-80GB": 312e12,
    "NVIDIA H100 80GB HBM3": 989e12,
    "NVIDIA H200": 989e12,
}


class Goodput:
    """The seconds of this process, from its making on, by what they were spent on.

    Whatever is not one of KINDS nor compilation is "train": the loop, as it waits for its steps.
    """

    def __init__(self):
        self._began, self._compiled = time.perf_counter(), compilation()["seconds"]
        self._seconds = dict.fromkeys(KINDS, 0.0)
        self._last = (self._began, 0.0)  # when `data_wait` was asked, and seconds of data then

    def started(self) -> None:
        """All until now was the start, but for compilation."""
        compiled = compilation()["seconds"] - self._compiled
        self._seconds["start"] = time.perf_counter() - self._began - compiled

    def data_wait(self) -> float:
        """The share of the time since the last call that the loop waited for data."""
        then, before = self._last
        self._last = (time.perf_counter(), self._seconds["data"])
        return (self._last[1] - before) / max(self._last[0] - then, 1e-9)

    @contextmanager
    def spent_on(self, kind: str):
        """Counts the time inside of the block, compilation left out, as one of KINDS."""
        began, compiled = time.perf_counter(), compilation()["seconds"]
        yield
        compiled = compilation()["seconds"] - compiled
        self._seconds[kind] += max(time.perf_counter() - began - compiled, 0.0)

    def seconds(self) -> dict[str, float]:
        """Seconds by kind; with "total" their sum, and "goodput" the share of "train"."""
        total = time.perf_counter() - self._began
        spent = {**self._seconds, "compile": compilation()["seconds"] - self._compiled}
        train = max(total - sum(spent.values()), 0.0)
        return {**spent, "train": train, "total": total, "goodput": train / max(total, 1e-9)}

    def write(self, workdir: str | os.PathLike, first: int, step: int, lost: int) -> None:
        """Appends a line to workdir/goodput.jsonl, on process 0 only: of steps `first` to `step`.

        `lost`: steps that an earlier process had trained and this one had to repeat. The last line
        with the same "first" and "process" says all of a process.
        """
        if jax.process_index() == 0:
            facts = {"process": os.getpid(), "first": first, "step": step, "lost_steps": lost}
            with (Path(workdir) / FILE).open("a") as file:
                file.write(json.dumps({**facts, **self.seconds()}) + "\n")


@functools.cache
def compilation() -> dict[str, float]:
    """Programs that XLA has compiled in this process since the first call: count and seconds."""
    total = {"count": 0, "seconds": 0.0}

    def listen(event, seconds, **_):
        if event == COMPILE_EVENT:
            total["count"] += 1
            total["seconds"] += seconds

    jax.monitoring.register_event_duration_secs_listener(listen)
    return total


def device_metrics(flops: float, step_seconds: float) -> dict[str, float]:
    """What a device does: useful "tflops" (TFLOP/s), "mfu" of its peak, "memory_gib" at its most.

    flops: useful FLOPs of a step on all devices. mfu and memory only where they are known.
    """
    device, mesh = jax.local_devices()[0], jax.sharding.get_mesh()
    speed = flops / max(step_seconds, 1e-9) / max(mesh.size, 1)
    values = {"tflops": speed / 1e12, "compiles": compilation()["count"]}
    if peak := PEAK_FLOPS.get(device.device_kind):
        values["mfu"] = speed / peak
    if stats := device.memory_stats():
        values["memory_gib"] = stats["peak_bytes_in_use"] / 2**30
    return values
