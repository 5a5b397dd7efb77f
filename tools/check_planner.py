"""python -m tools.check_planner

How far off the planner is on this machine's CPU. It predicts memory and time of a step of each
config, and the step is then run; the first config calibrates the times. It takes some minutes and
8 GB.
"""

import argparse
import gc
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from configs import dit_s
from videodit.config import Config, from_config_dict
from videodit.data.packing import PackedBatch
from videodit.data.sources.source import open_tokenizer
from videodit.flops import Clips
from videodit.forecasting import hlo
from videodit.forecasting.ahead import compile_step, lower_step
from videodit.forecasting.chips import Chip
from videodit.forecasting.clips import seen_shares
from videodit.forecasting.roofline import predict
from videodit.forecasting.work import work
from videodit.optim import make_optimizer, make_schedule
from videodit.sharding import make_mesh
from videodit.step import make_init
from videodit.tasks.registry import make_task
from videodit.train import Data

CONFIGS = {  # changes of the smoke config; the first one calibrates
    "S, rows of 1024, dots": {
        "dit.size": "S",
        "data.row_tokens": 1024,
        "data.batch_rows": 4,
        "compute.remat": "dots",
    },
    "B, rows of 512, none": {
        "dit.size": "B",
        "data.row_tokens": 512,
        "data.batch_rows": 4,
        "compute.remat": "none",
    },
}
STEPS = 3
GIB = 2**30


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--one", default="", help=argparse.SUPPRESS
    )  # one of CONFIGS, in this process
    parser.add_argument(
        "--steps", type=int, default=STEPS, help="steps that are run of each config"
    )
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(args.one, args.steps)))
        return
    found = {name: run(name, args.steps) for name in CONFIGS}
    first = next(iter(CONFIGS))
    slowness = found[first]["seconds"] / found[first]["predicted_seconds"]
    print(f"{first!r} calibrates: it takes {slowness:.2f} times what the roofline says")
    for name, figures in found.items():
        print(describe(name, figures, slowness))


def run(name: str, steps: int) -> dict[str, float]:
    """`measure(name, steps)` in a process whose memory is that of the step alone."""
    command = [sys.executable, "-m", "tools.check_planner", f"--one={name}", f"--steps={steps}"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def measure(name: str, steps: int) -> dict[str, float]:
    """Seconds and bytes of a step, predicted (without calibration) and measured."""
    cfg = from_config_dict(config(name))
    mesh = make_mesh(cfg.mesh)
    with jax.set_mesh(mesh):
        task, state, frozen, batch = real_arguments(cfg)
    lowered, arguments = lower_step(cfg, mesh, task.tokenizer)
    compiled, memory = compile_step(cfg, lowered, arguments)
    stack = task.stacks(clips_of(batch), cfg.steps)[0]
    assert compiled
    done = work(hlo.parse(compiled.as_text() or ""), mesh, seen_shares(cfg, stack, "cpu"))
    predicted = predict(done, this_cpu(), mesh).step
    key, seconds = jax.random.key(cfg.seed), []
    gc.collect()
    resident = reset_peak()
    for _ in range(steps):
        began = time.perf_counter()
        state, metrics = compiled(state, frozen, batch, key)
        jax.block_until_ready((state, metrics))
        seconds.append(time.perf_counter() - began)
    return {
        "seconds": min(seconds),
        "predicted_seconds": predicted,
        "bytes": peak() - resident,
        "predicted_bytes": memory.temporaries,
    }


def config(name: str) -> ConfigDict:
    """The named config, as a ConfigDict."""
    config = dit_s.get_config("smoke")
    config.text.size, config.autoencoder.size = "S", "S"
    config.update_from_flattened_dict(CONFIGS[name])
    config.data.rows_per_group = config.data.batch_rows
    config.data.text_tokens = config.data.row_tokens // 4
    return config


def real_arguments(cfg: Config) -> tuple[Any, Any, Any, PackedBatch]:
    """The task, the state, the frozen arrays and the first batch of a run of `cfg`."""
    tokenizer = open_tokenizer(cfg.text.workdir)
    data = Data(tokenizer)
    data.open(cfg)
    batch = next(data.from_the_start())
    data.close()
    task = make_task(cfg, tokenizer)
    frozen = task.make_frozen(iter([batch]))
    optimizer = make_optimizer(cfg.optim, make_schedule(cfg.optim, cfg.steps), task.groups)
    state = jax.jit(make_init(task, optimizer))(jax.random.key(cfg.seed), frozen)
    return task, state, frozen, batch


def clips_of(batch: PackedBatch) -> Clips:
    """The clips of the mean row of a batch."""
    ids, rows = np.asarray(batch.segment_ids), len(batch.segment_ids)
    tokens = np.concatenate([np.bincount(row)[1:] for row in ids])
    tokens = np.sort(tokens)[::rows]
    grids = np.stack([np.ones_like(tokens), np.ones_like(tokens), tokens], axis=1)
    return Clips(grids, tokens, np.zeros_like(tokens))


def this_cpu() -> Chip:
    """A Chip with the speed of a matmul and a copy here; calibration makes up for the rest."""
    side, length = 2048, 2**26
    x = jnp.ones((side, side))
    peak = 2 * side**3 / quickest(jax.jit(lambda x: x @ x), x)
    bandwidth = 8 * length / quickest(jax.jit(lambda x: x + 1), jnp.ones(length))
    return Chip("cpu", 0.0, peak, 1.0, 1.0, (1.0, 1.0), bandwidth, 1.0, bandwidth, bandwidth, 1.0)


def quickest(function: Callable[[Any], Any], x: Any) -> float:
    """Seconds of the fastest of some calls."""
    seconds = []
    for _ in range(6):
        began = time.perf_counter()
        jax.block_until_ready(function(x))
        seconds.append(time.perf_counter() - began)
    return min(seconds[1:])


def reset_peak() -> int:
    """Makes the bytes in use now the peak, and returns them."""
    Path("/proc/self/clear_refs").write_text("5")
    return peak()


def peak() -> int:
    """The largest number of bytes in use since `reset_peak`."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(re.findall(r"VmHWM:\s+(\d+)", status)[0])


def describe(name: str, found: dict[str, float], slowness: float) -> str:
    """A line about a config; times are predicted `slowness` times as long as by the roofline."""
    predicted = found["predicted_seconds"] * slowness
    memory, expected = found["bytes"] / GIB, found["predicted_bytes"] / GIB
    return (
        f"{name:24} step {found['seconds']:6.2f} s, predicted {predicted:6.2f} "
        f"({predicted / found['seconds'] - 1:+.0%}); memory {memory:5.2f} GiB, predicted "
        f"{expected:5.2f} ({expected / memory - 1:+.0%})"
    )


if __name__ == "__main__":
    main()
