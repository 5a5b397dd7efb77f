"""python -m videodit.main --config=configs/dit_xl.py --workdir=DIR [--config.FIELD=VALUE ...]"""

import logging
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from absl import flags
from absl import logging as absl_logging

from videodit.command_line import config_from_flags, parse_flags
from videodit.config.exits import DIVERGED, FULL_DISK, INTERRUPTED
from videodit.entry import run_command
from videodit.folders import FullDisk, is_full_disk, newest_checkpoint

flags.DEFINE_string("workdir", None, "Folder of the run: checkpoints, metrics, samples.")


def main(_: list[str]) -> None:
    """Trains the configured run. The exit statuses are in videodit/config/exits.py."""
    absl_logging.set_verbosity(absl_logging.WARNING)  # libraries
    logging.getLogger("videodit").setLevel(logging.INFO)
    workdir = flags.FLAGS.workdir
    with one_line(workdir):
        cfg = config_from_flags()
        from videodit.sharding import join_processes  # imports jax, which takes a second

        join_processes(cfg.mesh)
        from videodit.divergence import Diverged
        from videodit.preemption import Preempted
        from videodit.train import train

        try:
            train(cfg, workdir)
        except Preempted as stop:
            leave(str(stop), stop.status)
        except Diverged as stop:
            leave(f"error: {stop}", DIVERGED)


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


if __name__ == "__main__":
    flags.mark_flags_as_required(["config", "workdir"])
    run_command(main, parse_flags)
