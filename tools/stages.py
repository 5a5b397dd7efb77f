"""Runs the stages of a recipe one after the other: commands that turn nothing into a page.

tools/demo.py and tools/world.py are recipes. A stage that is done is skipped the next time, and one
that was interrupted resumes.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from videodit.config import ConfigError
from videodit.config.exits import INTERRUPTED, PREEMPTED
from videodit.files import read_object, write_json
from videodit.folders import make_folder
from videodit.metrics import format_seconds

SAVE_SECONDS = 5  # seconds between two records of a running stage

Stages = Mapping[str, Sequence[str]]  # in their order: by name, the arguments of `python -m`


class StageRecord:
    """A JSON file that tells which stages are done, and the seconds of each over all runs."""

    def __init__(self, file: Path) -> None:
        """Reads the file if it exists. With a damaged one no stage is done; each resumes."""
        self._file = file
        self.stages: dict[str, Any] = {}
        try:
            self.stages = read_object(file) if file.exists() else {}
        except ConfigError as error:
            print(f"left out: {error}", flush=True)

    def seconds(self, name: str) -> float:
        """The seconds that a stage took so far."""
        return self.stages.get(name, {}).get("seconds", 0.0)

    def done(self, name: str) -> bool:
        """Whether a stage has succeeded."""
        return self.stages.get(name, {}).get("done", False)

    def record(self, name: str, seconds: float, done: bool) -> None:
        """Records a stage. The file is replaced whole: a crash leaves the old or the new one."""
        self.stages[name] = {"seconds": round(seconds, 1), "done": done}
        write_json(self._file, self.stages)


def run_stage(name: str, command: Sequence[str], log: Path, record: StageRecord) -> int:
    """Runs a stage and returns its exit status; its output goes to the screen and into `log`."""
    before, start = record.seconds(name), time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    output = process.stdout
    assert output
    try:
        with log.open("ab") as file:
            for chunk in iter(lambda: os.read(output.fileno(), 65536), b""):
                sys.stdout.buffer.write(chunk)
                sys.stdout.flush()
                file.write(chunk)
                seconds = before + time.monotonic() - start
                if seconds - record.seconds(name) > SAVE_SECONDS:
                    record.record(name, seconds, done=False)
        return process.wait()
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()
        seconds = before + time.monotonic() - start
        record.record(name, seconds, done=process.returncode == 0)


def run_recipe(
    folder: str, stages: Callable[[Path], Stages], prepare: Mapping[str, Callable[[Path], None]]
) -> int:
    """Runs the stages of the recipe in a folder; returns the exit status: 0 if all succeeded.

    `prepare`: what to do with the folder just before the stages of these names. Raises ConfigError
    if the folder cannot be made.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(PREEMPTED))
    out = make_folder(folder, "--out")
    try:
        return run_stages(out, stages(out), prepare)
    except KeyboardInterrupt:
        print("\nInterrupted; the same command goes on from here.")
        return INTERRUPTED


def run_stages(out: Path, stages: Stages, prepare: Mapping[str, Callable[[Path], None]]) -> int:
    """Runs the stages that are not done yet; returns 0, or 1 if a stage failed."""
    record, start = StageRecord(out / "stages.json"), time.monotonic()
    for number, (name, command) in enumerate(stages.items(), 1):
        title = f"[{number}/{len(stages)} {name}]"
        if record.done(name):
            print(f"{title} done before, in {format_seconds(record.seconds(name))}", flush=True)
            continue
        elapsed = format_seconds(time.monotonic() - start)
        print(f"\n{title} after {elapsed}: python -m {' '.join(command)}", flush=True)
        if name in prepare:
            prepare[name](out)
        log = out / f"{name}.log"
        status = run_stage(name, command, log, record)
        took = format_seconds(record.seconds(name))
        if status:
            print(f"{title} failed after {took} with exit status {status}; its output: {log}")
            return 1
        print(f"{title} took {took}", flush=True)
    total = sum(record.seconds(name) for name in stages)
    print(f"\nAll stages took {format_seconds(total)}. Open {out}/report.html")
    return 0
