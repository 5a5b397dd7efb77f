"""Makes an average of a run's weights, of a length that is chosen after training.

    python -m tools.average_weights --workdir=RUN --length=0.07 --out=FOLDER

The run was trained with config.optim.power_averages=(0.05, 0.1). --length is a share of the run:
videodit/averages.py says which. FOLDER can be given to videodit.generate, to other commands that
read a workdir, and to init_from; it cannot be trained on.
"""

import os
import shutil
from pathlib import Path
from typing import Any

import jax
from absl import flags

from videodit.averages import LONGEST, mixture
from videodit.checkpoint import SNAPSHOTS, Checkpointer, has_checkpoints, read_config
from videodit.config import MeshConfig, check
from videodit.data.tokenizer import Tokenizer
from videodit.entry import run_command
from videodit.folders import make_folder
from videodit.parameters import Params, averaged
from videodit.sharding import abstract, make_mesh
from videodit.tasks.registry import make_task

USED = ("*.json", "*.digest", "tokenizer.model")  # files of a workdir that are used with weights


def average_weights(
    workdir: str | os.PathLike, length: float, out: str | os.PathLike, step: int | None = None
) -> list[tuple[int, float, float]]:
    """Writes to `out` what workdir holds, with the average at `step` in place of the EMA.

    step: the last one of the saved by default. Returns step, length and factor of each saved
    average. Raises ConfigError for a run without saved averages, and for an impossible length or
    step.
    """
    cfg, source = read_config(workdir, "--workdir"), Path(workdir) / SNAPSHOTS
    lengths = cfg.optim.power_averages
    expected = "a run that has saved averages (optim.power_averages)"
    check(bool(lengths) and has_checkpoints(source), "--workdir", str(workdir), expected)
    check(0 < length <= LONGEST, "--length", length, f"above 0 and at most {LONGEST:.4f}")
    out = make_folder(out, "--out")
    check(not has_checkpoints(out), "--out", str(out), "a folder without checkpoints")
    snapshots = Checkpointer(source, keep=None)
    steps = snapshots.steps()
    step = steps[-1] if step is None else step
    check(step in steps, "--step", step, f"one of {steps}")
    saved = [(at, known) for at in steps if at <= step for known in lengths]
    factors = mixture(saved, step, length)
    with jax.set_mesh(make_mesh(MeshConfig(data=1, fsdp=-1))):
        task = make_task(cfg, Tokenizer.read(workdir))
        init = lambda key, frozen: averaged(task.init(key, frozen), task.groups)
        target = abstract(init, jax.random.key(0), task.abstract_frozen())
        powers = {str(i): target for i in range(len(lengths))}
        total: Params = {}
        for at in dict.fromkeys(at for at, _ in saved):
            found = snapshots.restore_item("powers", powers, at)
            for average, known in zip(found.values(), lengths):
                factor = factors[saved.index((at, known))]
                total = _plus(total, average, float(factor))
        _write(Path(workdir), out, step, total)
    snapshots.close()
    return [(*pair, float(factor)) for pair, factor in zip(saved, factors)]


def _plus(total: Params, average: Params, factor: float) -> Params:
    """total + factor * average; total may be {}."""
    scaled: Any = jax.tree.map(lambda x: factor * x, average)
    return jax.tree.map(lambda a, b: a + b, total, scaled) if total else scaled


def _write(workdir: Path, out: Path, step: int, weights: Params) -> None:
    for pattern in USED:
        for file in workdir.glob(pattern):
            shutil.copy(file, out)
    checkpoints = Checkpointer(out)
    checkpoints.save(step, {"ema": weights})
    checkpoints.close()


def main(_: list[str]) -> None:
    """Runs the command line. Raises ConfigError."""
    args = flags.FLAGS
    for at, known, factor in average_weights(args.workdir, args.length, args.out, args.step):
        print(f"step {at:8d}, length {known:.4g}: {factor:+.4f}")
    print(f"The average of length {args.length:.4g} is in {args.out}")


if __name__ == "__main__":
    flags.DEFINE_string("workdir", None, "a run with optim.power_averages", required=True)
    flags.DEFINE_float("length", None, "std of the averaged steps, a share of all", required=True)
    flags.DEFINE_integer("step", None, "at which saved step; default: the last one")
    flags.DEFINE_string("out", None, "folder of the result", required=True)
    run_command(main)
