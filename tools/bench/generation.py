"""Memory and waiting time of generation, by the number of requests.

    python -m tools.bench.generation                          # the demo's model, random weights
    python -m tools.bench.generation --workdir=runs/demo/dit  # a trained run
    python -m tools.bench.generation --counts=16,128,1024

Requests of several sizes go through one pipeline; each count runs in a process of its own. Memory
must not grow with the count, and the first clip must come long before the last. Compilation is
timed apart. Linux only: the memory is what /proc says of the process.
"""

import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import NamedTuple

import jax
from absl import flags

from tools.check_planner import peak, reset_peak
from videodit.config import RANDOM, SYNTHETIC, check, from_config_dict
from videodit.data.sources.source import open_tokenizer
from videodit.entry import run_command
from videodit.inference.pipeline import Pipeline
from videodit.inference.request import Request
from videodit.tasks.diffusion import DiffusionTask

SHAPES = ((96, 56, 17), (48, 48, 9), (56, 96, 17), (96, 56, 1), (48, 48, 1))  # of the demo's clips
MIB = 2**20


class Measured(NamedTuple):
    """One pipeline and its requests."""

    requests: int
    groups: int
    compile_seconds: float  # until the first group has run once, with its compilation
    first_seconds: float  # until the first clip, all programs being compiled
    total_seconds: float
    memory: int  # bytes: the peak while sampling, above what the process had before the pipeline
    device_memory: int  # bytes: the peak of the first device; 0 if it does not say


def measure(count: int, workdir: str, steps: int) -> Measured:
    """Generates `count` clips in this process."""
    jax.devices()
    before = reset_peak()
    pipeline, requests = open_pipeline(workdir, steps), mixed_requests(count)
    began = time.perf_counter()
    groups = warm_up(pipeline, requests)
    compiled, first = time.perf_counter(), 0.0
    reset_peak()
    for done, _ in enumerate(pipeline(requests)):
        first = first if done else time.perf_counter() - compiled
    total, stats = time.perf_counter() - compiled, jax.local_devices()[0].memory_stats() or {}
    device = stats.get("peak_bytes_in_use", 0)
    return Measured(count, groups, compiled - began, first, total, peak() - before, device)


def warm_up(pipeline: Pipeline, requests: list[Request]) -> int:
    """Compiles the program of the groups, which all have one shape; returns how many there are."""
    groups = pipeline.groups(requests)
    next(pipeline(requests))
    return len(groups)


def measure_apart(count: int, workdir: str, steps: int) -> Measured:
    """`measure` in a new process, whose memory nothing else has used."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(measure, count, workdir, steps).result()


def open_pipeline(workdir: str, steps: int) -> Pipeline:
    """A trained run, or the demo's model with random weights if there is none ("")."""
    if workdir:
        return Pipeline.read(workdir, "--workdir", steps=steps)
    from configs.demo_dit import get_config

    config = get_config()
    config.data.catalog = config.text.workdir = SYNTHETIC
    config.autoencoder.workdir = RANDOM
    config.sample.update(steps=steps, prompts=())
    cfg, tokenizer = from_config_dict(config), open_tokenizer(SYNTHETIC)
    task = DiffusionTask(cfg, tokenizer)
    frozen = task.make_frozen(())
    params = jax.jit(task.init)(jax.random.key(0), frozen)
    return Pipeline(task, cfg, tokenizer, params, frozen)


def mixed_requests(count: int) -> list[Request]:
    """Requests of the demo's sizes in turn."""
    sizes = (SHAPES[i % len(SHAPES)] for i in range(count))
    return [Request("A red square moves left.", *size, seed=i) for i, size in enumerate(sizes)]


def table(found: list[Measured]) -> str:
    """A line a count, and how the memory of the last compares with that of the first."""
    a, b = found[0], found[-1]
    change = b.memory / a.memory - 1
    last = f"memory of {b.requests} requests against {a.requests}: {change:+.1%}"
    return "\n".join([*map(_line, found), last])


def _line(m: Measured) -> str:
    whole = m.compile_seconds + m.total_seconds - m.first_seconds  # the first group compiles
    device = f", device {m.device_memory / MIB:.0f} MiB" if m.device_memory else ""
    return (
        f"{m.requests:5} requests in {m.groups:3} groups: "
        f"first clip after {m.first_seconds:.2f} s of {m.total_seconds:.2f} s "
        f"({m.first_seconds / m.total_seconds:.1%}), with compilation after "
        f"{m.compile_seconds:.1f} s of {whole:.1f} s ({m.compile_seconds / whole:.0%}); "
        f"memory {m.memory / MIB:.0f} MiB{device}"
    )


def main(_: list[str]) -> None:
    """Runs the command line. Raises ConfigError."""
    args = flags.FLAGS
    good = all(count.isdigit() and int(count) for count in args.counts)
    check(good, "--counts", ",".join(args.counts), "whole numbers with commas between")
    counts = map(int, args.counts)
    print(table([measure_apart(count, args.workdir, args.steps) for count in counts]))


if __name__ == "__main__":
    flags.DEFINE_string("workdir", "", "a trained diffusion run; by default random weights")
    flags.DEFINE_list("counts", ["16", "128"], "numbers of requests")
    flags.DEFINE_integer("steps", 2, "solver steps")
    run_command(main)
