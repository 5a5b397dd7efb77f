"""Checks, before any work is done, of the folders that a command reads and writes."""

import os
import tempfile
from pathlib import Path

from videodit.config import ConfigError, check


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
