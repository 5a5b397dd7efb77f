"""python -m videodit.plan --config=configs/dit_xl.py --topology=v5p:8x8x8

Compiles the real train step of a config for accelerators that are not there and says what memory
a chip needs. Topologies: v5p:8x8x8, v5e:16x16, v6e:16x16 (chips along each axis of the torus),
h100:64x8 (nodes x GPUs).
"""

import dataclasses
import json
import logging
import os
import time
from pathlib import Path

from absl import app, flags
from absl import logging as absl_logging

from videodit.command_line import parse_flags, read_config
from videodit.config import SYNTHETIC, Config, ConfigError, refuse

TEXT_SHARE = 8  # a row's text tokens where the config leaves them to the data: L / 8
GIB = 2**30


def plan(cfg: Config, topology: str) -> dict:
    """What a chip of `topology` needs for a train step of `cfg`: figures by name.

    Raises ConfigError if the topology or the mesh cannot be.
    """
    from videodit.data.sources import open_tokenizer
    from videodit.scaling.ahead import chip_memory, lower_step
    from videodit.scaling.topology import open_topology, topology_mesh

    cfg = settle(cfg)
    tokenizer = open_tokenizer(cfg.text.workdir or SYNTHETIC)
    topology = open_topology(topology)
    mesh = topology_mesh(cfg.mesh, topology)
    began = time.perf_counter()
    lowered, arguments = lower_step(cfg, mesh, tokenizer)
    compiled = lowered.compile()
    memory = chip_memory(compiled, arguments)
    return {
        "topology": topology.name,
        "chips": mesh.size,
        "mesh": dict(mesh.shape),
        "row_tokens": cfg.data.row_tokens,
        "batch_rows": cfg.data.batch_rows,
        "text_tokens": cfg.data.text_tokens,
        "bytes": memory._asdict(),
        "bytes_total": memory.total,
        "bytes_of_chip": topology.chip.memory,
        "fits": memory.total <= topology.chip.memory,
        "compile_seconds": time.perf_counter() - began,
    }


def settle(cfg: Config) -> Config:
    """`cfg` with what training finds out: the shape of the trained autoencoder, and text tokens.

    Raises ConfigError for a bad autoencoder.workdir.
    """
    from videodit.train import adopt_autoencoder

    cfg = adopt_autoencoder(cfg)
    text_tokens = cfg.data.text_tokens or cfg.data.row_tokens // TEXT_SHARE
    return dataclasses.replace(cfg, data=dataclasses.replace(cfg.data, text_tokens=text_tokens))


def describe(figures: dict) -> str:
    """The figures of `plan` as lines to read."""
    mesh = " x ".join(f"{axis} {size}" for axis, size in figures["mesh"].items())
    lines = [f"{figures['topology']}: {figures['chips']} chips, {mesh}"]
    lines += [f"  {name:12}{size / GIB:9.3f} GiB" for name, size in figures["bytes"].items()]
    used, there = figures["bytes_total"] / GIB, figures["bytes_of_chip"] / GIB
    verdict = "fits" if figures["fits"] else f"does not fit by {used - there:.2f} GiB"
    lines.append(f"  {'a chip':12}{used:9.3f} GiB of {there:.2f}: {verdict}")
    lines.append(f"  compiled in {figures['compile_seconds']:.0f} s")
    return "\n".join(lines)


def main(argv):
    absl_logging.set_verbosity(absl_logging.WARNING)
    logging.getLogger("videodit").setLevel(logging.INFO)
    try:
        if len(argv) > 1:
            raise ConfigError(f"unexpected argument {argv[1]!r}: fields are --config.NAME=VALUE")
        figures = plan(read_config(), flags.FLAGS.topology)
        print(describe(figures))
        if flags.FLAGS.out:
            Path(flags.FLAGS.out).write_text(json.dumps(figures, indent=2) + "\n")
    except ConfigError as error:
        refuse(error)


if __name__ == "__main__":
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")  # no TPU is asked for its shape
    os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
    flags.DEFINE_string("topology", None, "such as v5p:8x8x8 or h100:64x8", required=True)
    flags.DEFINE_string("out", "", "a .json file for the figures")
    flags.mark_flag_as_required("config")
    app.run(main, flags_parser=parse_flags)
