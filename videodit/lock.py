"""The lock of a workdir: only one run trains there.

The file WORKDIR/lock names the process that holds it. On one machine the kernel's lock on the file
(flock) tells whether that process is alive. Machines that share storage may not see each other's
flock, so the holder also rewrites the file every BEAT seconds. Commands that only read a workdir
take no lock.
"""

import contextlib
import fcntl
import json
import logging
import os
import socket
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import jax

from videodit.config import ConfigError
from videodit.sharding import check_together

FILE = "lock"
BOOT_FILE = Path("/proc/sys/kernel/random/boot_id")  # tells machines of one name apart
BEAT = 10.0  # seconds between two rewrites of the file
PATIENCE = 60.0  # seconds without a rewrite after which a holder on another machine is dead

Holder = dict[str, Any]  # what the file says of a process: host, boot, pid, since, run, beat
logger = logging.getLogger(__name__)


class WorkdirLock:
    """A run's lock on its workdir, which process 0 holds for all processes of the run."""

    def __init__(
        self, workdir: str | os.PathLike, *, beat: float = BEAT, patience: float = PATIENCE
    ) -> None:
        """Takes nothing yet. `beat` and `patience` are in seconds."""
        self._workdir, self._path = Path(workdir), Path(workdir) / FILE
        self._beat, self._patience = beat, patience
        since = time.strftime("%Y-%m-%d %H:%M:%S %Z")
        facts = {"pid": os.getpid(), "since": since, "run": uuid.uuid4().hex, "beat": 0}
        self._own: Holder = _machine() | facts
        self._descriptor: int | None = None
        self._thread = threading.Thread(target=self._keep_alive, name="lock", daemon=True)
        self._stop, self._lost = threading.Event(), False

    def take(self) -> None:
        """Takes the lock if there is a workdir and the run does not hold the lock already.

        Waits up to `patience` seconds to learn whether a holder on another machine is alive.
        Raises ConfigError, in every process, naming the holder if another run trains here.
        """
        check_together(lambda: self._take() if jax.process_index() == 0 else None)

    def _take(self) -> None:
        while self._descriptor is None and self._workdir.is_dir():
            descriptor = self._open()
            try:
                self._check_holder(alive_here=self._lock(descriptor))
                if self._is_current(descriptor):  # else its holder has just given it back
                    self._descriptor = descriptor
                    self._write()
                    self._thread.start()
            finally:
                if self._descriptor is None:
                    os.close(descriptor)

    def check(self) -> None:
        """Raises ConfigError if another run has taken the lock over. Call it before a save."""
        if self._lost:
            holder = _describe(_parse(self._read()))
            raise ConfigError(f"--workdir={str(self._workdir)!r}: {holder} has taken it over")

    def close(self) -> None:
        """Gives the lock back and deletes the file."""
        if self._descriptor is not None:
            self._stop.set()
            self._thread.join()
            if not self._lost:
                self._path.unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = None

    def _open(self) -> int:
        try:
            return os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            expected = f"expected a file that can be written ({error.strerror})"
            raise ConfigError(f"{self._path}: {expected}") from None

    @staticmethod
    def _lock(descriptor: int) -> bool | None:
        """Takes the flock. Returns whether a process of this machine has it; None: not known."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:  # storage without such locks
            return None
        return False

    def _is_current(self, descriptor: int) -> bool:
        with contextlib.suppress(FileNotFoundError):
            return os.path.samestat(os.fstat(descriptor), self._path.stat())
        return False

    def _check_holder(self, alive_here: bool | None) -> None:
        """Raises ConfigError unless the holder that the file names has ended."""
        content = self._read()
        holder = _parse(content)
        if not content and not alive_here:
            return
        here = all(holder.get(name) == value for name, value in _machine().items())
        ended_here = here and alive_here is False
        if alive_here or not (ended_here or self._is_silent(content)):
            raise ConfigError(
                f"--workdir={str(self._workdir)!r}: {_describe(holder)} trains here; expected a "
                "folder of its own for each run"
            )
        logger.info("%s: %s has ended; this run takes its lock", self._workdir, _describe(holder))

    def _is_silent(self, content: bytes) -> bool:
        """Whether the file stays as it is for `patience` seconds.

        Its modification time would not do: clocks differ, and network storage caches it.
        """
        message = "%s: %s holds the lock; waiting up to %.0f s for a sign of life"
        logger.warning(message, self._workdir, _describe(_parse(content)), self._patience)
        deadline = time.monotonic() + self._patience
        while time.monotonic() < deadline:
            time.sleep(self._patience / 60)
            if (now := self._read()) != content:
                return not now  # its holder has given it back, or is alive
        return True

    def _keep_alive(self) -> None:
        while not self._stop.wait(self._beat):
            with contextlib.suppress(OSError):  # the storage may be away for a while
                holder = _parse(self._read())
                if holder.get("run", self._own["run"]) != self._own["run"]:
                    self._lost = True
                    return
                self._write()

    def _read(self) -> bytes:
        """The content of the file, b"" if there is none; opened anew, or caches would be read."""
        try:
            return self._path.read_bytes()
        except FileNotFoundError:
            return b""

    def _write(self) -> None:
        """Rewrites the file in place, because the flock is of this very file; never empties it."""
        assert self._descriptor is not None
        self._own["beat"] += 1
        content = json.dumps(self._own).encode()
        os.pwrite(self._descriptor, content, 0)
        os.ftruncate(self._descriptor, len(content))


def _machine() -> Holder:
    """What tells this machine, since its last start, from others."""
    boot = BOOT_FILE.read_text().strip() if BOOT_FILE.exists() else ""
    return {"host": socket.gethostname(), "boot": boot}


def _parse(content: bytes) -> Holder:
    """The holder that the file names; {} if the file is empty or half written."""
    try:
        holder = json.loads(content)
    except ValueError:
        return {}
    return holder if isinstance(holder, dict) else {}


def _describe(holder: Holder) -> str:
    if not holder:
        return "another run"
    host, pid, since = (holder.get(name) for name in ("host", "pid", "since"))
    return f"another run (host {host}, pid {pid}, since {since})"
