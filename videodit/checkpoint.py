"""Checkpoints of a run (orbax): step, params, ema, opt and the loader's state, an item each.

A restore always has a target (`sharding.abstract`), so a checkpoint written on one mesh is read
onto any other. The EMA weights can be read alone: `restore_item(..., "ema", ...)`.
"""

import logging
import os
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from videodit.config import Config, ConfigError, differences, find_task, from_saved, to_json
from videodit.data.tokenizer import Tokenizer
from videodit.files import named, read_object, read_text, write_text

DATA_FILE = "data.digest"  # in the workdir: digest of the plan that the batches came from
SNAPSHOTS = "averages"  # in the workdir: a folder of checkpoints of the power averages
FROZEN_FILE = "{}.digest"  # in the workdir: digests of frozen arrays, by their names

logger = logging.getLogger(__name__)


class Checkpointer:
    """The checkpoints below workdir/checkpoints; saving goes on in the background."""

    def __init__(self, workdir: str | os.PathLike, *, keep: int | None = 2) -> None:
        """`keep`: how many of the newest are kept; None: all."""
        options = ocp.CheckpointManagerOptions(max_to_keep=keep, enable_async_checkpointing=True)
        self._manager = ocp.CheckpointManager(_folder(workdir), options=options)

    def latest_step(self) -> int | None:
        """The step of the newest checkpoint, None if there is none."""
        return self._manager.latest_step()

    def save(self, step: int, state: dict, loader_state: int) -> None:
        """Starts to save `state` (nested dicts of arrays), which has had `step` steps."""
        if step in self._manager.all_steps():
            return
        items = {name: ocp.args.StandardSave({name: value}) for name, value in state.items()}
        loader = ocp.args.JsonSave({"next_step": loader_state})
        self._manager.save(step, args=ocp.args.Composite(loader=loader, **items))

    def restore(self, step: int, target: dict) -> tuple[dict, int]:
        """The state of `step` with target's shapes, dtypes and shardings; the loader's state."""
        items = {name: ocp.args.StandardRestore({name: leaf}) for name, leaf in target.items()}
        loader = ocp.args.JsonRestore()
        got = self._manager.restore(step, args=ocp.args.Composite(loader=loader, **items))
        return {name: got[name][name] for name in target}, got["loader"]["next_step"]

    def steps(self) -> list[int]:
        """The steps that have a checkpoint, in their order."""
        return sorted(self._manager.all_steps())

    def restore_item(self, name: str, target: Any, step: int | None = None) -> Any:
        """One item ("ema") of the checkpoint of a step, by default the newest."""
        args = ocp.args.Composite(**{name: ocp.args.StandardRestore({name: target})})
        step = self.latest_step() if step is None else step
        return self._manager.restore(step, args=args)[name][name]

    def close(self) -> None:
        """Waits until everything is saved."""
        self._manager.close()


def restore_ema(workdir: str | os.PathLike, target: Any, field: str) -> Any:
    """The EMA weights of the newest checkpoint of a run.

    Raises ConfigError naming the config field `field` if there is none.
    """
    if not _folder(workdir).is_dir():
        raise ConfigError(f"{field}={str(workdir)!r}: expected the folder of a trained run")
    checkpoints = Checkpointer(workdir)
    try:
        if checkpoints.latest_step() is None:
            raise ConfigError(f"{field}={str(workdir)!r}: the run has no checkpoint yet")
        return checkpoints.restore_item("ema", target)
    finally:
        checkpoints.close()


def read_config(workdir: str | os.PathLike, field: str) -> Config:
    """The config of a run; raises ConfigError naming `field` if the folder holds no run."""
    path = Path(workdir) / "config.json"
    if not path.is_file():
        raise ConfigError(
            f"{field}={str(workdir)!r}: expected a run's folder; it has no config.json"
        )
    return _config_of(path)


def _config_of(path: Path) -> Config:
    """The config in a config.json. Raises ConfigError naming the file if it is damaged."""
    values = read_object(path)
    with named(path):
        return from_saved(values)


def _known_digest(path: Path) -> str:
    """The digest in a file; "" if there is none, or if a crash has damaged it, which is logged."""
    try:
        return read_text(path).strip() if path.is_file() else ""
    except ConfigError as error:
        logger.warning("%s; it is written anew", error)
        return ""


def has_checkpoints(workdir: str | os.PathLike) -> bool:
    """Whether a run has saved a step; opens no checkpoint."""
    return any(_folder(workdir).glob("[0-9]*"))


def check_run(workdir: str | os.PathLike, cfg: Config, tokenizer: Tokenizer) -> None:
    """Refuses (ConfigError) a folder with checkpoints of another model or another tokenizer."""
    path = Path(workdir) / "config.json"
    if path.is_file() and _folder(workdir).is_dir():
        parts = ("task", *find_task(cfg.task).model)
        found = differences(_config_of(path), cfg, parts)
        found = [field for field in found if ".workdir:" not in field]  # folders may move
        if found:
            raise ConfigError(
                f"{path.parent} holds checkpoints of another config (there, here): "
                f"{'; '.join(found)}. Choose another folder or the config it was made with."
            )
        if (known := Tokenizer.read(workdir).digest) != tokenizer.digest:
            raise ConfigError(
                f"text.workdir={cfg.text.workdir!r}: another tokenizer ({tokenizer.digest}) than "
                f"{path.parent} has ({known})"
            )


def check_data(workdir: str | os.PathLike, digest: str, *, resumed: bool) -> None:
    """Writes the digest of a run's plan; warns if a resumed run has other data than before."""
    path = Path(workdir) / DATA_FILE
    if resumed and _known_digest(path) not in ("", digest):
        logger.warning(
            "%s: the catalog, the data config or the seed has changed since the run stopped: "
            "from here on its batches differ from those of a run that did not stop",
            workdir,
        )
    if jax.process_index() == 0:
        write_text(path, digest + "\n")


def check_digests(workdir: str | os.PathLike, digests: dict[str, str], cfg: Config) -> None:
    """Refuses (ConfigError) weights that were trained with another codec or text encoder.

    digests: as `Task.digests` gives them, by section of the config. A run that has not begun yet
    has none.
    """
    for name, digest in digests.items():
        path = Path(workdir) / FROZEN_FILE.format(name)
        if (known := _known_digest(path)) not in ("", digest):
            raise ConfigError(
                f"{name}.workdir={getattr(cfg, name).workdir!r}: its digest ({digest}) is not "
                f"the one that {workdir} was trained with ({known})"
            )


def write_digests(workdir: str | os.PathLike, digests: dict[str, str]) -> None:
    """Writes what `check_digests` compares with, a file for each digest."""
    if jax.process_index() == 0:
        for name, digest in digests.items():
            write_text(Path(workdir) / FROZEN_FILE.format(name), digest + "\n")


def write_run(workdir: str | os.PathLike, cfg: Config, tokenizer: Tokenizer) -> None:
    """Writes config.json and tokenizer.model: what is needed to use the checkpoints."""
    if jax.process_index() == 0:
        path = Path(workdir) / "config.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, to_json(cfg))
        tokenizer.write(workdir)


def _folder(workdir: str | os.PathLike) -> Path:
    return Path(workdir).absolute() / "checkpoints"
