"""Checks of the folders that a command reads and writes, before any work; disks that are full."""

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from videodit.config import ConfigError, check

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # disk, quota, limit on the size of files


class FullDisk(Exception):
    """No space is left for what a command is about to write."""

    def __init__(self, path: str | os.PathLike, what: str) -> None:
        """what: what does not fit into the folder `path`."""
        free = shutil.disk_usage(path).free / 2**20
        super().__init__(f"{path}: no space left for {what}; {free:.0f} MiB are free")


def has_space(folder: str | os.PathLike, size: int) -> bool:
    """Whether the disk of a folder has `size` bytes left."""
    return shutil.disk_usage(folder).free >= size


def is_full_disk(error: BaseException) -> bool:
    """Whether a full disk is among the causes of an error; libraries have only its text."""
    texts = [os.strerror(number) for number in FULL]
    return any(
        isinstance(cause, FullDisk)
        or getattr(cause, "errno", None) in FULL
        or any(text in str(cause) for text in texts)
        for cause in _causes(error)
    )


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error:
        yield error
        yield from getattr(error, "exceptions", ())
        error = error.__cause__ or error.__context__


def newest_checkpoint(workdir: str | os.PathLike) -> Path | None:
    """The folder of the last step that a run has saved, None if there is none; opens no file."""
    folders = (Path(workdir) / "checkpoints").glob("[0-9]*")
    steps = [folder for folder in folders if folder.name.isdigit()]
    return max(steps, key=lambda folder: int(folder.name), default=None)


def check_folder(path: str | os.PathLike, flag: str) -> None:
    """Raises ConfigError naming the flag if files cannot be written to a folder; leaves no trace.

    A folder that is not there could be made if its nearest existing parent can be written to.
    """
    check(bool(os.fspath(path)), flag, path, "a folder")  # "" would be the current one
    try:
        existing = Path(path)
        while not existing.exists() and existing != existing.parent:
            existing = existing.parent
        _try_folder(existing)
    except OSError as error:
        raise _refusal(path, flag, "a folder that can be written", error) from None


def make_folder(path: str | os.PathLike, flag: str) -> Path:
    """Makes a folder. Raises ConfigError naming the flag unless files can be written to it."""
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
        _try_folder(Path(path))
    except OSError as error:
        raise _refusal(path, flag, "a folder that can be written", error) from None
    return Path(path)


def check_file(path: str | os.PathLike, flag: str) -> None:
    """Raises ConfigError naming the flag if a file cannot be written; leaves no trace."""
    try:
        if Path(path).is_dir():
            raise IsADirectoryError(0, "it is a folder")
        if Path(path).exists() and not os.access(path, os.W_OK):
            raise PermissionError(0, "the file cannot be changed")
        _try_folder(Path(path).parent)
    except OSError as error:
        raise _refusal(path, flag, "a file in a folder that can be written", error) from None


def check_trained(workdir: str | os.PathLike, flag: str) -> None:
    """Raises ConfigError naming the flag unless a folder has a run's config and a checkpoint.

    Neither is opened, and jax is not needed.
    """
    try:
        there = (Path(workdir) / "config.json").is_file()
        trained = any((Path(workdir) / "checkpoints").glob("[0-9]*"))
    except OSError as error:
        raise _refusal(workdir, flag, "a run's folder", error) from None
    if not there:
        named = f"{flag}={os.fspath(workdir)!r}"
        raise ConfigError(f"{named}: expected a run's folder; it has no config.json")
    if not trained:
        raise ConfigError(f"{flag}={os.fspath(workdir)!r}: the run has no checkpoint yet")


def _try_folder(folder: Path) -> None:
    """Raises OSError unless a file can be made; permissions alone do not tell."""
    with tempfile.TemporaryFile(dir=folder):
        pass


def _refusal(path: str | os.PathLike, flag: str, expected: str, error: OSError) -> ConfigError:
    return ConfigError(f"{flag}={os.fspath(path)!r}: expected {expected} ({error.strerror})")
