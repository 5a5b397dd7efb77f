"""Loss curves of one config with each format of matmuls (compute.matmul), side by side.

    python -m tools.matmul_curves --config=configs/dit_xl.py:smoke --out=DIR --config.steps=200

The runs share everything else: batches, noise and initial weights.
"""

import dataclasses
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from videodit.command_line import config_from_flags, parse_flags
from videodit.config import Config
from videodit.entry import run_command
from videodit.folders import check_folder

PARTS = 8  # parts of a curve whose means are printed


def curves(cfg: Config, out: Path) -> dict[str, np.ndarray]:
    """The training loss of every step of a run of `cfg` in bfloat16, "int8" and "fp8"."""
    from videodit.nn.low_precision import FORMATS
    from videodit.train import train

    found = {}
    for matmul in ("", *FORMATS):
        name = matmul or "bfloat16"
        compute = dataclasses.replace(cfg.compute, dtype="bfloat16", matmul=matmul)
        train(dataclasses.replace(cfg, compute=compute, log_every=1), str(out / name))
        lines = map(json.loads, (out / name / "metrics.jsonl").read_text().splitlines())
        found[name] = np.array([line["loss"] for line in lines if line["kind"] == "train"])
    return found


def table(found: dict[str, np.ndarray]) -> str:
    """Means of the parts of each curve, and their differences to those of bfloat16."""
    reference = _means(found["bfloat16"])
    lines = [f"{'mean loss of each 1/' + str(PARTS):24}" + _row(range(1, PARTS + 1), "8d")]
    for name, losses in found.items():
        lines.append(f"{name:24}" + _row(_means(losses), "8.4f"))
        if name != "bfloat16":
            lines.append(f"{'  minus bfloat16':24}" + _row(_means(losses) - reference, "+8.4f"))
    return "\n".join(lines)


def _means(losses: np.ndarray) -> np.ndarray:
    return np.array([part.mean() for part in np.array_split(losses, PARTS)])


def _row(values: Iterable[Any], form: str) -> str:
    return "".join(f"{value:{form}}" for value in values)


def main(_: list[str]) -> None:
    """Runs the command line. Raises ConfigError."""
    check_folder(flags.FLAGS.out, "--out")
    print(table(curves(config_from_flags(), Path(flags.FLAGS.out))))


if __name__ == "__main__":
    flags.DEFINE_string("out", None, "Folder of the runs, one for each format.", required=True)
    flags.mark_flag_as_required("config")
    run_command(main, parse_flags)
