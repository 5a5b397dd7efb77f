"""python -m videodit.plan --config=configs/dit_xl.py --topology=v5p:8x8x8

Compiles the train step of a config for accelerators that are not there. It reports the memory of a
chip, the expected time of a step, and what the chips exchange. Topologies: v5p:8x8x8, v5e:16x16,
v6e:16x16 (chips along each axis of the torus), v5e:16x16*2 (two slices), h100:64x8 (nodes x GPUs),
cpu:8 (fake devices of this machine).
"""

import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags
from absl import logging as absl_logging

from videodit.command_line import config_from_flags, parse_flags
from videodit.config import Changes, Config
from videodit.entry import run_command
from videodit.folders import check_file

if TYPE_CHECKING:
    from videodit.forecasting.forecast import Forecast
    from videodit.forecasting.topology import Topology

GIB = 2**30


def plan(cfg: Config, topology: str, clip_tokens: int = 0) -> "Forecast":
    """The forecast of a train step of `cfg` on `topology`.

    Raises ConfigError if the topology or the mesh cannot be.
    """
    from videodit.forecasting.topology import open_topology
    from videodit.tasks.resolve import resolve_elsewhere

    return _compiler(open_topology(topology), clip_tokens)(resolve_elsewhere(cfg))


def describe(figures: dict) -> str:
    """The figures of a Forecast as lines to read."""
    mesh = " x ".join(f"{axis} {size}" for axis, size in figures["mesh"].items() if size > 1)
    lines = [
        f"{figures['topology']}: {figures['chips']} chips, {mesh or 'no parallelism'}",
        f"  {figures['parameters'] / 1e9:.3f} B parameters, "
        f"{figures['flops_per_token'] / 1e9:.2f} GFLOP a token in clips of "
        f"{figures['clip_tokens']:.0f} (useful, forward and backward)",
    ]
    lines += [f"  {name:12}{size / GIB:9.3f} GiB" for name, size in figures["bytes"].items()]
    used, there = figures["bytes_total"] / GIB, figures["bytes_of_chip"] / GIB
    verdict = "fits" if figures["fits"] else f"does not fit by {used - there:.2f} GiB"
    lines.append(f"  {'a chip':12}{used:9.3f} GiB of {there:.2f}: {verdict}")
    lines += _describe_speed(figures) + _describe_collectives(figures["collectives"])
    lines.append(f"  compiled in {figures['compile_seconds']:.0f} s")
    return "\n".join(lines)


def _describe_speed(figures: dict) -> list[str]:
    if "seconds" not in figures:
        return ["  predicted step: unknown for such chips, or for a program that does not fit"]
    seconds = {name: 1e3 * value for name, value in figures["seconds"].items()}
    return [
        f"  predicted step {seconds['step']:.0f} ms: matmuls {seconds['products']:.0f}, attention "
        f"{seconds['attention']:.0f}, other kernels {seconds['memory']:.0f}; beside them "
        f"collectives {seconds['beside']:.0f}, HBM {seconds['hbm']:.0f}; waiting for others "
        f"{seconds['waited']:.0f}, for the host's memory {seconds['host']:.0f}",
        f"  {figures['tokens_per_second'] / 1e6:.2f} M tokens/s, MFU {figures['mfu']:.1%}, "
        f"with recomputation {figures['hfu']:.1%}",
        f"  {figures['steps']} steps, {figures['run_tokens'] / 1e9:.0f} B tokens: "
        f"{figures['chip_hours']:,.0f} chip-hours",
    ]


def _describe_collectives(collectives: list[dict]) -> list[str]:
    """Lines about what a chip exchanges in a step."""
    lines = []
    for x in collectives:
        axes, size = " x ".join(x["axes"]), x["bytes"] / GIB
        lines.append(f"  {x['kind']:20}{axes:16}{x['times']:8.0f} times{size:10.3f} GiB")
    return lines


def main(_: list[str]) -> None:
    from videodit.forecasting.topology import use_no_accelerator

    absl_logging.set_verbosity(absl_logging.WARNING)
    logging.getLogger("videodit").setLevel(logging.INFO)
    values = flags.FLAGS
    if values.out:
        check_file(values.out, "--out")
    use_no_accelerator()
    _make_cpu_devices(values.topology)
    found = plan(config_from_flags(), values.topology, values.clip_tokens)
    figures = found.figures()
    print(describe(figures), flush=True)
    if not found.fits:
        figures["remedy"], found = remedy(found, values.clip_tokens)
    if values.search:
        figures["search"] = ranking(found, values.clip_tokens)
    if values.out:
        Path(values.out).write_text(json.dumps(figures, indent=2) + "\n")


def _make_cpu_devices(topology: str) -> None:
    """Makes the fake CPU devices that a topology such as "cpu:8" asks for; others need none."""
    import jax

    from videodit.forecasting.topology import MOST_CPU_DEVICES

    kind, _, count = topology.partition(":")
    if kind == "cpu" and count.isdigit() and 1 <= int(count) <= MOST_CPU_DEVICES:
        jax.config.update("jax_num_cpu_devices", int(count))


def remedy(found: "Forecast", clip_tokens: int) -> tuple[Changes | None, "Forecast"]:
    """Prints the first changes with which the step fits; returns them with the new Forecast.

    Returns None and the old Forecast if no change helps.
    """
    from videodit.forecasting.remedies import as_flags, find_remedy

    done = find_remedy(found, _compiler(found.topology, clip_tokens), _tell)
    if done is None:
        print("  none of the changes that were tried makes it fit")
        return None, found
    changes, better = done
    print(f"  it fits with {as_flags(changes)}\n{describe(better.figures())}", flush=True)
    return changes, better


def ranking(found: "Forecast", clip_tokens: int) -> list[dict]:
    """The best meshes, remat policies and batch sizes for a Forecast, printed and returned."""
    from videodit.data.sources.source import open_tokenizer
    from videodit.forecasting.remedies import as_flags
    from videodit.forecasting.search import search

    tokenizer = open_tokenizer(found.cfg.text.workdir)
    best = search(found, tokenizer, _compiler(found.topology, clip_tokens), tell=_tell)
    for changes, one in best:
        memory = one.memory.total / GIB
        print(f"  {one.speed:,.0f} tokens/s a chip, {memory:.1f} GiB: {as_flags(changes)}")
    return [changes | {"tokens_per_second_chip": one.speed} for changes, one in best]


def _compiler(topology: "Topology", clip_tokens: int) -> Callable[[Config], "Forecast"]:
    """The forecast of a resolved config on the topology."""
    from videodit.data.sources.source import open_tokenizer
    from videodit.forecasting.forecast import forecast

    return lambda cfg: forecast(cfg, topology, open_tokenizer(cfg.text.workdir), clip_tokens)


def _tell(line: str) -> None:
    print(f"  {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    flags.DEFINE_string("topology", None, "such as v5p:8x8x8 or h100:64x8", required=True)
    flags.DEFINE_integer("clip_tokens", 0, "of the clips in a row; 0: as data.views has it")
    flags.DEFINE_bool("search", False, "rank meshes, remat policies and batch sizes")
    flags.DEFINE_string("out", "", "a .json file for the figures")
    flags.mark_flag_as_required("config")
    run_command(main, parse_flags)
