"""How a run ends early: with one line on stderr and an exit status of videodit/config/exits.py."""

import logging
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from absl import logging as absl_logging

from videodit.config.exits import FULL_DISK, INTERRUPTED
from videodit.folders import FullDisk, is_full_disk, newest_checkpoint


@contextmanager
def one_line(workdir: str) -> Iterator[None]:
    """Ends the process with one line after Ctrl-C and if a disk is full."""
    hush_full_disks()
    try:
        yield
    except KeyboardInterrupt:
        leave(f"stopped by SIGINT; {saved(workdir)}", INTERRUPTED)
    except Exception as error:
        if not is_full_disk(error):
            raise
        # Not sys.exit: what runs at an exit would write too.
        print(f"error: {full_disk(error, workdir)}; {saved(workdir)}", file=sys.stderr, flush=True)
        os._exit(FULL_DISK)


def full_disk(error: Exception, workdir: str) -> FullDisk:
    """What a full disk has no space for."""
    text = " ".join(str(error).split())[:300]
    return error if isinstance(error, FullDisk) else FullDisk(workdir, f"its files ({text})")


def leave(line: str, status: int) -> None:
    """Ends the process with a line on stderr."""
    print(line, file=sys.stderr, flush=True)
    sys.exit(status)


def saved(workdir: str) -> str:
    """The newest checkpoint, for people."""
    folder = newest_checkpoint(workdir)
    if folder is None:
        return f"nothing was saved in {workdir}"
    return f"saved after step {folder.name} in {workdir}; the same command resumes"


def hush_full_disks() -> None:
    """Keeps threads and libraries from printing tracebacks about a full disk: the run says it."""
    original, original_of_callbacks = threading.excepthook, sys.unraisablehook

    def hook(args: Any) -> None:
        if not (args.exc_value and is_full_disk(args.exc_value)):
            original(args)

    def keep(record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        return not (error and is_full_disk(error))

    def hook_of_callbacks(args: Any) -> None:
        if str(args.exc_value) != "Event loop is closed":  # of writes that end after their save
            original_of_callbacks(args)

    threading.excepthook, sys.unraisablehook = hook, hook_of_callbacks
    absl_logging.get_absl_handler().addFilter(keep)
