"""Checkpoints of a run (orbax): step, params, ema and opt, an item each; digests in `loader`.

A restore always has a target (`sharding.abstract`), so a checkpoint written on one mesh is read
onto any other. The EMA weights can be read alone: `restore_item(..., "ema", ...)`.
"""

import itertools
import logging
import os
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import PolicyCheckpointInfo, PreservationContext

from videodit.config import Config, ConfigError, differences, find_task, from_saved, to_json
from videodit.data.tokenizer import Tokenizer
from videodit.digest import digests
from videodit.files import named, read_object, read_text, write_text
from videodit.folders import FullDisk, has_space, newest_checkpoint
from videodit.parameters import all_finite
from videodit.sharding import from_all

DATA_FILE = "data.digest"  # in the workdir: digest of the plan that the batches came from
SNAPSHOTS = "averages"  # in the workdir: a folder of checkpoints of the power averages
FROZEN_FILE = "{}.digest"  # in the workdir: digests of frozen arrays, by their names
SOUND_FILE = "sound_step"  # in the workdir: step of the newest checkpoint known to be sound
DAMAGED = "damaged"  # in the workdir: where damaged checkpoints are moved to
UNREADABLE = 2**32 - 1  # in place of the step of a checkpoint

logger = logging.getLogger(__name__)


class Damaged(Exception):
    """A checkpoint cannot be read, or does not hold what was saved."""


class Rotation:
    """orbax's policy of deletion: the newest checkpoints and the newest sound one are kept.

    A checkpoint is sound if a finite loss was computed with its parameters, and then so are all
    before it. Until one is known to be sound, all are kept.
    """

    def __init__(self, keep: int | None) -> None:
        """`keep`: how many of the newest are kept; None: all."""
        self._keep = keep
        self.sound = -1  # no checkpoint of a later step is known to be sound

    def newest_sound(self, steps: Iterable[int]) -> int | None:
        """The last of the checkpoints of these steps that is known to be sound."""
        return max((step for step in steps if step <= self.sound), default=None)

    def should_preserve(
        self, checkpoints: Sequence[PolicyCheckpointInfo], *, context: PreservationContext
    ) -> list[bool]:
        """Whether each checkpoint is kept."""
        steps = sorted(checkpoint.step for checkpoint in checkpoints)
        sound = self.newest_sound(steps)
        kept = steps if self._keep is None or sound is None else [*steps[-self._keep :], sound]
        return [checkpoint.step in kept for checkpoint in checkpoints]


class Checkpointer:
    """The checkpoints below workdir/checkpoints; saving goes on in the background.

    Each holds digests of its arrays, which every read proves. Where the newest is to be read and is
    damaged, the newest that is not damaged is read, on all processes alike.
    """

    def __init__(
        self, workdir: str | os.PathLike, *, keep: int | None = 2, writes: bool = True
    ) -> None:
        """`keep` as in Rotation. With writes=False nothing in the folder is changed."""
        self._workdir, self._rotation = Path(workdir).absolute(), Rotation(keep)
        self._options = ocp.CheckpointManagerOptions(
            preservation_policy=self._rotation,
            create=writes,
            cleanup_tmp_directories=writes,
            lightweight_initialize=True,
        )
        self._manager = self._open()
        self._reader = _make_reader()
        self._rotation.sound = self._known_sound(self.latest_step() or 0)

    def latest_step(self) -> int | None:
        """The step of the newest checkpoint, None if there is none."""
        return self._manager.latest_step()

    def steps(self) -> list[int]:
        """The steps that have a checkpoint, in their order."""
        return sorted(self._manager.all_steps())

    def save(self, step: int, state: dict) -> None:
        """Starts to save `state` (nested dicts of arrays), which has had `step` steps.

        Raises FullDisk if too little space is left, and what ended the last save.
        """
        if step in self._manager.all_steps():
            return
        size = sum(x.nbytes for x in jax.tree.leaves(state))
        if not all(from_all(has_space(self._workdir, size))):
            raise FullDisk(self._workdir, f"a checkpoint of {size / 2**20:.0f} MiB")
        items = {name: ocp.args.StandardSave({name: value}) for name, value in state.items()}
        loader = ocp.args.JsonSave({"next_step": step, "digests": digests(state)})
        self._manager.save(step, args=ocp.args.Composite(loader=loader, **items))

    def check(self) -> None:
        """Raises what ended a save in the background."""
        if not self._manager.is_saving_in_progress():
            self._manager.wait_until_finished()  # which raises what its thread has caught

    def restore(self, target: dict) -> tuple[dict, int]:
        """The newest state that is as it was saved, and its step. Later checkpoints are set aside.

        It has target's shapes, dtypes and shardings. Raises ConfigError if all are damaged.
        """
        state, step = self._newest(target)
        self._set_aside_after(step)
        self._rotation.sound = self._known_sound(step)
        return state, step

    def restore_item(self, name: str, target: Any, step: int | None = None) -> Any:
        """One item ("ema") of the checkpoint of a step, by default of the newest not damaged.

        Raises ConfigError for damaged ones.
        """
        if step is None:
            return self._newest({name: target})[0][name]
        try:
            return self._read(step, {name: target})[name]
        except Damaged as error:
            raise ConfigError(f"damaged checkpoint {self._path(step)}: {error}") from None

    def mark_sound(self, step: int) -> None:
        """Notes that a finite loss was computed with the parameters after `step` steps."""
        saved = max((saved for saved in self._manager.all_steps() if saved <= step), default=-1)
        if saved > self._rotation.sound:
            self._rotation.sound = saved
            if jax.process_index() == 0:
                write_text(self._workdir / SOUND_FILE, f"{saved}\n")

    def last_sound(self) -> Path | None:
        """The folder of the last checkpoint that is known to be sound, None if there is none."""
        step = self._rotation.newest_sound(self._manager.all_steps())
        return None if step is None else self._path(step)

    def close(self) -> None:
        """Waits until everything is saved."""
        self._manager.close()

    def _open(self) -> ocp.CheckpointManager:
        return ocp.CheckpointManager(_folder(self._workdir), options=self._options)

    def _known_sound(self, newest: int) -> int:
        """The step in SOUND_FILE, at most `newest`; -1 if there is none."""
        path = self._workdir / SOUND_FILE
        text = path.read_bytes().strip() if path.is_file() else b""
        return min(int(text), newest) if text.isdigit() else -1

    def _newest(self, target: dict) -> tuple[dict, int]:
        """What `target` names of the newest checkpoint that is not damaged, and its step."""
        reasons = []
        for step in reversed(self.steps()):
            try:
                return self._read(step, target), step
            except Damaged as error:
                reasons.append(f"{self._path(step)}: {error}")
                logger.warning("damaged checkpoint %s", reasons[-1])
        raise ConfigError(f"no checkpoint is as it was saved: {'; '.join(reasons)}")

    def _read(self, step: int, target: dict) -> dict:
        """What `target` names of a checkpoint. Raises Damaged, on all processes or on none."""
        known: dict[str, str] | None = None
        reason = "another process cannot read it"
        try:
            found, known = self._load(step, target)
        except Exception as error:  # of any kind: files, formats, shapes
            reason = " ".join(str(error).split())[:200] or repr(error)
        # Hosts may not see the same files. Below, they compute together.
        if set(from_all(UNREADABLE if known is None else step)) != {step}:
            raise Damaged(reason)
        wrong = [name for name, x in digests(found).items() if known and known[name] != x]
        if any(from_all(len(wrong))):
            raise Damaged(f"its arrays are not those that were saved ({', '.join(wrong)})")
        return found

    def _load(self, step: int, target: dict) -> tuple[dict, dict[str, str]]:
        """What `target` names, and the digests of what was saved; {} if an old version saved it.

        Raises errors of any kind.
        """
        items = {name: ocp.args.StandardRestore({name: leaf}) for name, leaf in target.items()}
        args = ocp.args.Composite(loader=ocp.args.JsonRestore(), **items)
        got = self._reader.restore(self._path(step), args=args)
        old = got["loader"] == {"next_step": step}
        known = {} if old else {name: got["loader"]["digests"][name] for name in target}
        if got["loader"]["next_step"] != step:
            raise Damaged("its loader item is of another step")
        return {name: got[name][name] for name in target}, known

    def _set_aside_after(self, step: int) -> None:
        """Moves the folders of later steps, which are damaged or not complete, to DAMAGED."""
        found = _folder(self._workdir).iterdir() if jax.process_index() == 0 else ()
        later = [path for path in found if path.name.isdigit() and int(path.name) > step]
        for path in later:
            logger.warning("set aside: %s", _move(path, self._workdir / DAMAGED))
        if from_all(len(later))[0]:  # others wait for process 0
            self._manager.close()
            self._manager = self._open()

    def _path(self, step: int) -> Path:
        return _folder(self._workdir) / str(step)


def _make_reader() -> ocp.Checkpointer:
    """Reads without waiting for other processes: damage may end the read of one of them alone."""
    alone = {"primary_host": None, "active_processes": {jax.process_index()}}
    options = ocp.options.MultiprocessingOptions(**alone)
    return ocp.Checkpointer(ocp.CompositeCheckpointHandler(), multiprocessing_options=options)


def _move(path: Path, folder: Path) -> Path:
    """Moves a folder into `folder`, under a name that is free; returns where it is."""
    folder.mkdir(exist_ok=True)
    names = itertools.chain([path.name], (f"{path.name}-{n}" for n in itertools.count(2)))
    return path.rename(next(folder / name for name in names if not (folder / name).exists()))


def restore_ema(workdir: str | os.PathLike, target: Any, field: str) -> Any:
    """The EMA weights of the newest checkpoint of a run that is not damaged.

    Raises ConfigError naming the config field `field` if there is none or if they are not finite.
    """
    if not _folder(workdir).is_dir():
        raise ConfigError(f"{field}={str(workdir)!r}: expected the folder of a trained run")
    with closing(Checkpointer(workdir, writes=False)) as checkpoints:
        if checkpoints.latest_step() is None:
            raise ConfigError(f"{field}={str(workdir)!r}: the run has no checkpoint yet")
        weights = checkpoints.restore_item("ema", target)
        if not all_finite(weights):
            raise ConfigError(
                f"{field}={str(workdir)!r}: the weights are not finite. The last sound checkpoint: "
                f"{checkpoints.last_sound()}"
            )
        return weights


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
    return newest_checkpoint(workdir) is not None


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
