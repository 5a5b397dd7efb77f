"""Files on local disk or behind a URL such as gs://BUCKET/NAME, always opened as local files.

A remote file is copied once into a cache folder, which also keeps files made from other files. The
environment's VIDEODIT_CACHE names the folder (~/.cache/videodit), which is closed to other users.
When it holds more than VIDEODIT_CACHE_GB (100), the files that were not used for longest are
deleted.
"""

import contextlib
import fcntl
import hashlib
import logging
import os
import shutil
import stat
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TypeVar

from etils import epath

from videodit.config import ConfigError, check, one_line
from videodit.files import is_utf8, short_name, shown_name, sync

FOLDER = "VIDEODIT_CACHE"
BOUND = "VIDEODIT_CACHE_GB"
LOCKS = "locks"  # a folder in the cache, of empty files
DAMAGED = (OSError, EOFError, ValueError, TypeError, KeyError, ConfigError)
Loaded = TypeVar("Loaded")

logger = logging.getLogger(__name__)


def is_remote(path: str | os.PathLike) -> bool:
    """Whether a path is a URL."""
    return "://" in os.fspath(path)


def is_dir(path: str | os.PathLike) -> bool:
    """Whether there is such a folder. Raises ConfigError if the storage cannot be asked."""
    if not is_remote(path):
        return Path(path).is_dir()
    with _named(path):
        return epath.Path(path).is_dir()


def is_file(path: str | os.PathLike) -> bool:
    """Whether there is such a file. Raises ConfigError if the storage cannot be asked."""
    if not is_remote(path):
        return Path(path).is_file()
    with _named(path):
        return epath.Path(path).exists() and not epath.Path(path).is_dir()


def files(folder: str | os.PathLike) -> list[str]:
    """Sorted names, relative to a folder, of all files in it and its folders.

    Names that begin with a dot are left out, and so are names that are not UTF-8, which is logged.
    Raises ConfigError if the folder cannot be read.
    """
    found: list[str] = []
    with _named(folder):
        for path in epath.Path(folder).iterdir():
            if path.name.startswith("."):
                continue
            if not is_utf8(path.name):
                logger.warning("left out: %s: expected a name in UTF-8", shown_name(path))
                continue
            inner = files(path) if path.is_dir() else None
            found += [path.name] if inner is None else [f"{path.name}/{name}" for name in inner]
    return sorted(found)


def stamp(path: str | os.PathLike) -> str:
    """Size and modification time of a file, which show that it changed. Raises ConfigError."""
    with _named(path):
        if is_remote(path):
            remote = epath.Path(path).stat()
            return f"{remote.length}:{remote.mtime}"
        found = os.stat(path)
        return f"{found.st_size}:{found.st_mtime_ns}"


@contextlib.contextmanager
def opened(path: str | os.PathLike) -> Iterator[IO[bytes]]:
    """A file, open for reading; only the bytes of a remote one that are read are fetched.

    Raises ConfigError if it cannot be read.
    """
    with _named(path), epath.Path(path).open("rb") as file:
        yield file


def local(path: str | os.PathLike) -> Path:
    """The file as a local one: itself, or a copy in the cache.

    Raises ConfigError if a remote file does not exist or cannot be fetched. A local file is not
    checked.
    """
    if not is_remote(path):
        return Path(path)
    key = f"{path} {stamp(path)}"
    return cached(key, os.path.basename(path), lambda copy: _fetch(path, copy))


def local_folder(folder: str | os.PathLike) -> Path:
    """The folder as a local one: itself, or a copy of all its files in the cache.

    Raises ConfigError if it is remote and cannot be fetched.
    """
    if not is_remote(folder):
        return Path(folder)
    paths = {name: os.path.join(folder, name) for name in files(folder)}

    def fetch(copy: Path) -> None:
        for name, path in paths.items():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            _fetch(path, copy / name)

    key = repr([(path, stamp(path)) for path in paths.values()])
    return cached(key, os.path.basename(os.fspath(folder).rstrip("/")), fetch)


def _fetch(path: str | os.PathLike, copy: Path) -> None:
    with _named(path):
        epath.Path(path).copy(copy)


def cached(key: str, name: str, make: Callable[[Path], None]) -> Path:
    """The cache's file or folder for `key`; `make(path)` makes it if it is not there.

    Its name ends in `name`, which is shortened. It appears whole or not at all. If several
    processes or threads ask at once, one of them makes it. It may be deleted while it is in use:
    open files stay readable.
    """
    folder = cache_folder()
    path = folder / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}-{short_name(name)}"
    with locked(path.name):
        if not path.exists():
            temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}.tmp")
            try:
                make(temporary)
                sync(temporary)
                temporary.replace(path)
            finally:
                _delete(temporary)
            _trim(folder, path)
        os.utime(path)
    return path


def load(
    key: str, name: str, make: Callable[[Path], None], read: Callable[[Path], Loaded]
) -> Loaded:
    """`read(path)` of what is cached for `key`; if that is damaged, it is made again.

    `read` raises one of DAMAGED for what is damaged.
    """
    path = cached(key, name, make)
    try:
        return read(path)
    except DAMAGED as error:
        logger.warning("%s: damaged, it is made anew: %s", path, error)
        _delete(path)
        return read(cached(key, name, make))


@contextlib.contextmanager
def locked(name: str) -> Iterator[None]:
    """Holds a lock that all threads and processes of the machine share under `name`."""
    folder = cache_folder() / LOCKS
    folder.mkdir(exist_ok=True)
    with open(folder / hashlib.sha256(name.encode()).hexdigest()[:16], "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # released when the file is closed
        yield


def cache_folder() -> Path:
    """The cache's folder, made if it does not exist. It belongs to this user alone (mode 700).

    Raises ConfigError if it cannot be made, belongs to another user, or holds what is no cache.
    """
    folder = Path(os.environ.get(FOLDER) or "~/.cache/videodit").expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        _check_own(folder)
    except OSError as error:
        raise ConfigError(f"{FOLDER}={folder}: cannot be made: {error.strerror}") from error
    return folder


def _check_own(folder: Path) -> None:
    """Closes the cache's folder to other users; an older version left it open.

    Raises ConfigError for a folder of another user, and for one that holds other files: the cache
    deletes old ones. Raises OSError.
    """
    name, found = f"{FOLDER}={folder}", folder.stat()
    if found.st_uid != os.geteuid():
        raise ConfigError(
            f"{name}: belongs to another user (uid {found.st_uid}, not {os.geteuid()}); expected a "
            f"folder of your own, such as {folder / 'videodit'}"
        )
    other = next((entry for entry in os.listdir(folder) if entry != LOCKS), None)
    if other and not (folder / LOCKS).is_dir():
        raise ConfigError(
            f"{name}: holds {other!r}, which is no part of a cache; expected a folder for the "
            f"cache alone, such as {folder / 'videodit'}"
        )
    if stat.S_IMODE(found.st_mode) & 0o077:
        folder.chmod(0o700)
        if stat.S_IMODE(folder.stat().st_mode) & 0o077:
            raise ConfigError(f"{name}: is open to other users and cannot be closed to them")


def _trim(folder: Path, newest: Path) -> None:
    """Deletes the files that were not used for longest, except `newest`, until the bound holds."""
    bound = os.environ.get(BOUND, "100")
    try:
        room = float(bound) * 1e9
    except ValueError:
        check(False, BOUND, bound, "a number of gigabytes")
    entries = []
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):  # another process has renamed its file
            if path.name != LOCKS:
                entries.append((path.stat().st_mtime_ns, _size(path), path))
    room -= sum(size for _, size, _ in entries)
    for _, size, path in sorted(entries):
        if room >= 0:
            return
        if path != newest:
            _delete(path)
            room += size


def _size(path: Path) -> int:
    inner = path.rglob("*") if path.is_dir() else [path]
    return sum(entry.stat().st_size for entry in inner)


def _delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def _named(path: str | os.PathLike) -> Iterator[None]:
    """Turns any error about a file into a ConfigError that names it."""
    try:
        yield
    except ConfigError:  # names a file already
        raise
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such file or folder") from error
    except ImportError as error:
        raise ConfigError(
            f"{path}: gs:// needs pip install -e '.[gcs]' ({one_line(error)})"
        ) from error
    except Exception as error:  # every storage library has errors of its own
        raise ConfigError(
            f"{path}: cannot be read: {type(error).__name__}: {one_line(error)}"
        ) from error
