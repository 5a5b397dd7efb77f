"""Worker processes that fill rows: they may crash or run out of memory without harm to the run.

A worker is a fresh Python without jax. A thread of the parent talks to it over a pipe:

    parent                     worker
    (row, half, deadly)  ->                                      deadly: clips that it must not read
                         <-    ("reads", clip)                   tells the cause if it dies now
                         <-    ("broken", slot, clip, reason)
    spare or None        ->                                      the plan stays with the parent
                         <-    ("filled",)                       the row lies in shared memory
                         <-    ("failed", error)                 or the worker gives up

The shared memory holds two rows: one is filled while the parent copies the other. A worker ends
when the pipe is closed, so none outlives its parent.
"""

import contextlib
import dataclasses
import functools
import logging
import mmap
import os
import pickle
import queue
import resource
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from multiprocessing.connection import Connection, Pipe
from typing import Any, BinaryIO

import numpy as np

from videodit.config import ConfigError
from videodit.data.packing import HostBatch, PackedBatch, row_of
from videodit.data.planning.plan import Placed, Row
from videodit.data.reading import Reader, Replace
from videodit.data.video.files import View

ALIGN = 64  # bytes
GB = 10**9
PATIENCE = 60  # seconds that a clip may take before a warning

logger = logging.getLogger(__name__)


class Pool:
    """As many worker processes as data.workers says, each filling one row at a time."""

    def __init__(self, reader: Reader) -> None:
        """Starts no process yet: a worker starts with its first row."""
        setup, blank = pickle.dumps(reader), row_of(reader.empty_batch(1), 0)
        self._workers = [_Worker(setup, blank) for _ in range(reader.cfg.workers)]
        self._idle: queue.LifoQueue[_Worker] = queue.LifoQueue()
        for worker in self._workers:
            self._idle.put(worker)
        self._deadly: dict[int, str] = {}  # by clip: how it ended the process that read it
        self._memory = reader.cfg.worker_memory
        self._closed = False

    def fill(self, row: Row, out: HostBatch, replace: Replace) -> None:
        """Does Reader.fill in an idle worker. Safe with threads.

        If the worker dies, a new one fills the row. A clip on which two workers die is broken; a
        single death may have had another cause. Raises ConfigError if workers die before they read
        a clip, and what Reader.fill raises.
        """
        replace = functools.cache(replace)  # called once for each clip, even if the row is redone
        worker, deaths = self._idle.get(), Counter[int | None]()
        half = worker.free.get()
        try:
            while death := worker.fill(row, half, self._deadly, replace):
                self._note(death, deaths)
        except BaseException:
            worker.free.put(half)
            raise
        finally:
            self._idle.put(worker)  # it can fill another row while this one is copied
        worker.hand_over(half, out)

    def close(self) -> None:
        """Ends all workers; a `fill` that is under way raises RuntimeError."""
        self._closed = True
        for worker in self._workers:
            worker.close()

    def _note(self, death: "_Death", deaths: Counter[int | None]) -> None:
        """Counts a death; a clip with two becomes deadly. Raises as `fill` says."""
        if self._closed:
            raise RuntimeError("the pool of decoding processes is closed")
        deaths[death.clip] += 1
        if deaths[death.clip] < 2:
            return
        if death.clip is None:
            raise ConfigError(
                f"data.workers: a decoding process died before it read a clip: {death.how} "
                f"(data.worker_memory={self._memory} GB)"
            )
        how = f"decoding process died: {death.how}"
        # A new dict, because other threads may be sending the old one.
        self._deadly = {**self._deadly, death.clip: how}


@dataclasses.dataclass(frozen=True)
class _Death:
    """How a worker died, and on which clip (None: before it read one)."""

    clip: int | None
    how: str


class _Worker:
    """The parent's side of one worker process, which it restarts when needed."""

    def __init__(self, setup: bytes, blank: HostBatch) -> None:
        """`setup` is the pickled reader, `blank` a row of padding."""
        self._setup = setup
        self._process: subprocess.Popen | None = None
        self._memory = _shared_file(2 * _layout(blank)[1])
        self._halves = _mapped(self._memory.fileno(), blank)
        self.free: queue.SimpleQueue[int] = queue.SimpleQueue()
        for half in range(2):
            self.free.put(half)

    def fill(self, row: Row, half: int, deadly: dict[int, str], replace: Replace) -> _Death | None:
        """Fills one half of the memory; returns how the process died if it did."""
        clip, new = None, self._process is None
        if new:
            self._start()
        try:
            if new:
                self._pipe.send_bytes(self._setup)
            self._pipe.send((row, half, deadly))
            while (message := self._receive(clip))[0] in ("reads", "broken"):
                if message[0] == "reads":
                    clip = message[1]
                else:
                    self._pipe.send(replace(*message[1:]))
        except (EOFError, OSError):  # the pipe broke, perhaps within a message
            return _Death(clip, self._bury())
        except BaseException:
            self._stop()  # it would wait for an answer
            self._bury()
            raise
        if message[0] == "failed":  # for a reason other than a clip
            self._bury()
            raise message[1]
        return None

    def _receive(self, clip: int | None) -> tuple[Any, ...]:
        """The worker's next message; warns every PATIENCE seconds that a clip takes long."""
        waited = 0
        while not self._pipe.poll(PATIENCE):
            waited += PATIENCE
            what = "its source" if clip is None else f"the clip in row {clip} of the catalog"
            logger.warning("a decoding process has been reading %s for %d s", what, waited)
        return self._pipe.recv()

    def hand_over(self, half: int, out: HostBatch) -> None:
        """Copies a filled row into the empty row `out`; after that the half is free."""
        row = self._halves[half]
        try:
            real = np.count_nonzero(row.segment_ids)
            out.tokens[:real] = row.tokens[:real]
            _copy_others(row, out)
        finally:
            self.free.put(half)

    def close(self) -> None:
        """Ends the process for good."""
        self._stop()
        self._memory.close()

    def _stop(self) -> None:
        if process := self._process:
            process.kill()
            process.wait()

    def _start(self) -> None:
        self._pipe, theirs = Pipe()
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, str(theirs.fileno()), str(self._memory.fileno())],
            pass_fds=(theirs.fileno(), self._memory.fileno()),
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path)),
                "OMP_NUM_THREADS": "1",  # workers are the parallelism
            },
            start_new_session=True,  # Ctrl-C is for the parent
        )
        theirs.close()

    def _bury(self) -> str:
        """Waits for the process to end, forgets it and returns how it ended."""
        assert self._process
        status = self._process.wait()
        self._pipe.close()
        self._process = None
        return f"signal {signal.Signals(-status).name}" if status < 0 else f"status {status}"


class _Watched:
    """A worker's source: tells the parent which clip is read, and refuses deadly clips."""

    def __init__(self, reader: Reader, pipe: Connection) -> None:
        self.catalog = reader.source.catalog
        self.deadly: dict[int, str] = {}
        self._read, self._pipe, self._memory = reader.source.read, pipe, reader.cfg.worker_memory

    def read(self, i: int, view: View) -> np.ndarray:
        """Reads as the source does. Raises ConfigError for a deadly clip or too little memory."""
        if i in self.deadly:
            raise ConfigError(self.deadly[i])
        self._pipe.send(("reads", i))
        try:
            return self._read(i, view)
        except MemoryError as error:
            raise ConfigError(f"needs more than data.worker_memory={self._memory} GB") from error


def main(pipe_fd: int, memory_fd: int) -> None:
    """Runs a worker: fills rows until the parent closes the pipe."""
    pipe = Connection(pipe_fd)
    with contextlib.suppress(EOFError, OSError):  # the parent is gone
        try:
            _serve(pipe, memory_fd)
        except Exception as error:
            pipe.send(("failed", error))


def _serve(pipe: Connection, memory_fd: int) -> None:
    reader = pickle.loads(pipe.recv_bytes())
    _bound_memory(reader.cfg.worker_memory)
    source = _Watched(reader, pipe)
    reader = dataclasses.replace(reader, source=source)
    blank = row_of(reader.empty_batch(1), 0)
    halves = _mapped(memory_fd, blank)

    def replace(*broken: Any) -> Placed | None:
        pipe.send(("broken", *broken))
        return pipe.recv()

    while True:
        row, half, source.deadly = pipe.recv()
        _copy_others(blank, halves[half])
        reader.fill(row, halves[half], replace)
        pipe.send(("filled",))


def _copy_others(row: HostBatch, out: HostBatch) -> None:
    """Copies all arrays but the tokens: they are nearly all of a row, and padding needs none."""
    for name, values in row._asdict().items():
        if name != "tokens":
            getattr(out, name)[...] = values


def _bound_memory(gigabytes: float) -> None:
    """Bounds this process's private memory; mapped files and shared memory do not count."""
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    bound = int(gigabytes * GB)
    if most != resource.RLIM_INFINITY:
        bound = min(bound, most)
    resource.setrlimit(resource.RLIMIT_DATA, (bound, bound))


def _layout(row: HostBatch) -> tuple[list[int], int]:
    """Where each array of a row begins in shared memory, and the size of the row, in bytes."""
    sizes = [-(-values.nbytes // ALIGN) * ALIGN for values in row]
    ends = np.cumsum(sizes).tolist()
    return [0, *ends[:-1]], ends[-1]


def _mapped(file: int, like: HostBatch) -> list[HostBatch]:
    """The two rows that lie in a shared file, of the shapes and dtypes of `like`."""
    starts, size = _layout(like)
    memory = mmap.mmap(file, 2 * size)

    def array(values: np.ndarray, start: int) -> np.ndarray:
        return np.frombuffer(memory, values.dtype, values.size, start).reshape(values.shape)

    return [
        PackedBatch(*(array(values, start + half * size) for values, start in zip(like, starts)))
        for half in range(2)
    ]


def _shared_file(size: int) -> BinaryIO:
    """An unnamed file of zeros; in memory where the system supports that."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("videodit-rows")
    else:
        descriptor, path = tempfile.mkstemp()
        os.unlink(path)
    os.truncate(descriptor, size)
    return os.fdopen(descriptor, "w+b")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
