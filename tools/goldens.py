"""python -m tools.goldens

Writes into tests/goldens/ what no change of structure may alter:

  parameters/CONFIG.json   path, shape, dtype and sharding of every parameter of a config
  runs.json                for a smoke run of each task, hashes of the first four batches and the
                           losses of 20 steps

The tests of that name fail if a change alters them. This command then renews the files, and the
commit explains why. With --exact=FILE it writes instead what is equal to the bit only on one
machine: losses, gradient norms, digests of the trained parameters, and a generated clip's hash.
"""

import hashlib
import importlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "tests" / "goldens"
RUNS = {  # by name, a config whose smoke variant is run
    "autoencoder": "autoencoder_b",
    "diffusion": "dit_xl",
    "demo_autoencoder": "demo_autoencoder",
    "demo_dit": "demo_dit",
}
STEPS, BATCHES = 20, 4
NOT_HASHED = ("slot_segments", "slot_given")  # newer than the hashes; they follow from the others
CLIP = ("--prompt=A red circle moves.", "--size=32x32", "--frames=5", "--steps=2", "--seed=3")


def config_names() -> list[str]:
    """The files of configs/ that are experiments."""
    names = (path.stem for path in sorted((ROOT / "configs").glob("*.py")))
    return [name for name in names if name not in ("__init__", "common")]


def parameter_table(name: str) -> dict[str, list]:
    """Shape, dtype and sharding of each parameter of a config, by path, on a mesh of eight.

    Needs eight devices.
    """
    import jax

    from videodit.config import MeshConfig, from_config_dict
    from videodit.data.sources.source import open_tokenizer
    from videodit.optim import make_optimizer, make_schedule
    from videodit.sharding import make_mesh
    from videodit.tasks.registry import make_task

    config = importlib.import_module(f"configs.{name}").get_config()
    config.data.text_tokens = config.data.text_tokens or 4096  # which the plan chooses
    config.autoencoder.workdir = "random"
    cfg = from_config_dict(config)
    with jax.set_mesh(make_mesh(MeshConfig(data=1, fsdp=4, tensor=2))):
        from videodit.forecasting.ahead import abstract_arguments

        task = make_task(cfg, open_tokenizer("synthetic"))
        schedule = make_schedule(cfg.optim, cfg.steps)
        optimizer = make_optimizer(cfg.optim, schedule, task.groups)
        state = abstract_arguments(cfg, task, optimizer)[0]
    return {
        jax.tree_util.keystr(path, simple=True, separator="."): [
            list(x.shape),
            str(x.dtype),
            str(x.sharding.spec),
        ]
        for path, x in jax.tree_util.tree_leaves_with_path(state["params"])
    }


def batch_hashes(name: str) -> list[str]:
    """Hashes of the first BATCHES batches of a config's smoke variant."""
    from videodit.config import from_config_dict
    from videodit.data.loader import host_batches
    from videodit.data.planning.plan import Plan
    from videodit.data.sources.source import open_source, open_tokenizer

    config = importlib.import_module(f"configs.{name}").get_config("smoke")
    cfg = from_config_dict(config)
    tokenizer, patch = open_tokenizer(cfg.text.workdir), cfg.autoencoder.patch
    source = open_source(cfg.data, tokenizer)
    plan = Plan(
        source.catalog, cfg.data, cfg.seed, patch, source.parts, chunk=cfg.autoencoder.chunk
    )
    batches = host_batches(
        *(source, plan, tokenizer, patch),
        rows=range(cfg.data.batch_rows),
        start_step=0,
        stop_step=BATCHES,
    )
    hashed = lambda batch: (x for name, x in batch._asdict().items() if name not in NOT_HASHED)
    return [hash_of(*hashed(batch)) for batch in batches]


def hash_of(*arrays: Any) -> str:
    """A hash of the shapes, dtypes and bytes of numpy arrays."""
    found = hashlib.sha256()
    for x in arrays:
        found.update(f"{x.shape}{x.dtype}".encode())
        found.update(x.tobytes())
    return found.hexdigest()[:16]


def run_smoke(name: str, workdir: Path) -> dict[str, list[float]]:
    """Trains a config's smoke variant for STEPS steps; returns its losses and gradient norms."""
    fields = [f"--config.{field}={STEPS}" for field in ("steps", "eval_every", "save_every")]
    config = f"--config=configs/{name}.py:smoke"
    _python("videodit.main", config, f"--workdir={workdir}", *fields)
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    training = [line for line in lines if line["kind"] == "train"]
    return {key: [line[key] for line in training] for key in ("loss", "grad_norm")}


def exact(name: str) -> dict[str, Any]:
    """Results of a smoke run that are the same to the bit on one machine."""
    import jax
    import numpy as np
    import orbax.checkpoint as ocp

    from videodit.checkpoint import read_config
    from videodit.tasks.diffusion import DiffusionTask
    from videodit.tasks.registry import is_task

    with tempfile.TemporaryDirectory() as folder:
        workdir = Path(folder)
        found: dict[str, Any] = {**run_smoke(name, workdir)}
        for item in ("params", "ema", "opt"):
            path = workdir / "checkpoints" / str(STEPS) / item
            tree = ocp.StandardCheckpointer().restore(path)
            leaves = jax.tree_util.tree_leaves_with_path(tree)
            found[item] = {jax.tree_util.keystr(path): hash_of(np.asarray(x)) for path, x in leaves}
        if is_task(read_config(workdir, "--workdir"), DiffusionTask):
            out = workdir / "clip.mp4"
            _python("videodit.generate", f"--workdir={workdir}", f"--out={out}", *CLIP)
            found["clip"] = hashlib.sha256(out.read_bytes()).hexdigest()[:16]
    return found


def _python(module: str, *arguments: str) -> None:
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    environment.pop("JAX_NUM_CPU_DEVICES", None)
    command = [sys.executable, "-m", module, *arguments]
    subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=subprocess.DEVNULL)


def main(arguments: list[str]) -> None:
    """Runs the command line."""
    if arguments:
        path = Path(arguments[0].removeprefix("--exact="))
        found = {name: exact(config) for name, config in RUNS.items()}
        path.write_text(json.dumps(found, indent=1) + "\n")
        return
    (FOLDER / "parameters").mkdir(exist_ok=True, parents=True)
    for name in config_names():
        text = "".join(
            f" {json.dumps(path)}: {json.dumps(values)},\n"
            for path, values in parameter_table(name).items()
        )
        (FOLDER / "parameters" / f"{name}.json").write_text("{\n" + text.rstrip(",\n") + "\n}\n")
    runs = {}
    for name, config in RUNS.items():
        with tempfile.TemporaryDirectory() as folder:
            losses = run_smoke(config, Path(folder))["loss"]
        runs[name] = {"batches": batch_hashes(config), "losses": losses}
    (FOLDER / "runs.json").write_text(json.dumps(runs, indent=1) + "\n")


if __name__ == "__main__":
    os.environ |= {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "8"}
    main(sys.argv[1:])
