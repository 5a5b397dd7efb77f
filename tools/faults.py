"""Kills and stops a run of two processes, fills its disk, and compares it with the unbroken run.

    python -m tools.faults --out=runs/faults [--kills=20] [--terms=5] [--nofull]

Half of the kills come while a checkpoint is being written, the others at any moment. Every kill is
SIGKILL to both processes; a SIGTERM goes to one of them, and both save. The disk is a tmpfs where
that can be mounted, else the size of files is limited. After each fault the run is started again.
At the end its parameters, optimizer state and EMA are those of the unbroken run to the bit, or the
exit status is 1.
"""

import json
import os
import random
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from absl import flags

from launch.processes import run_together
from launch.supervise import Stopped
from videodit.config import check
from videodit.config.exits import FULL_DISK, PREEMPTED, SUCCESS
from videodit.entry import run_command
from videodit.folders import make_folder, newest_checkpoint
from videodit.metrics import read_metrics

PROCESSES, STEPS, SAVE_EVERY = 2, 120, 3
PATIENCE = 300.0  # seconds that a life may last
TMPFS_MIB, FILE_KIB = 96, 64
CONFIG = {
    "mesh.data": PROCESSES,
    "data.batch_rows": PROCESSES,
    "data.rows_per_group": PROCESSES,
    "eval_every": 1000,
    "save_every": SAVE_EVERY,
}


class Run:
    """A run of two processes in a folder, which is started as often as needed."""

    def __init__(self, workdir: Path, steps: int) -> None:
        """Its output goes into a file beside the folder."""
        self.workdir, self.log = workdir, workdir.with_suffix(".log")
        fields = {**CONFIG, "steps": steps}
        self._arguments = [f"--config.{name}={value}" for name, value in fields.items()]
        self.stopped = Stopped()

    def live(self, fault: Callable[["Run"], None] | None = None, before: str = "") -> int:
        """Starts the run, calls `fault(run)` meanwhile, and returns the run's exit status.

        before: a command of the shell that is run in each process first.
        """
        main = [sys.executable, "-m", "videodit.main", "--config=configs/demo_autoencoder.py:smoke"]
        script = f'{before} exec "$@" >> {shlex.quote(str(self.log))} 2>&1'
        command = ["sh", "-c", script, "sh", *main, f"--workdir={self.workdir}", *self._arguments]
        status: list[int] = []
        work = lambda: status.append(run_together(command, self.stopped, PROCESSES, False))
        thread = threading.Thread(target=work)
        thread.start()
        if fault:
            fault(self)
        thread.join(PATIENCE)
        self.signal(signal.SIGKILL)  # whatever has outlived its time
        thread.join()
        return status[0]

    def alive(self) -> bool:
        """Whether all processes run."""
        found = self.stopped.processes
        return len(found) < PROCESSES or all(process.poll() is None for process in found)

    def signal(self, number: int, count: int = PROCESSES) -> None:
        """Sends a signal to the last `count` processes."""
        for process in self.stopped.processes[-count:]:
            if process.poll() is None:
                process.send_signal(number)

    def step(self) -> int:
        """The last step whose metrics are written."""
        return max((line["step"] for line in read_metrics(self.workdir)), default=0)

    def saving(self) -> bool:
        """Whether a checkpoint is being written."""
        return any((self.workdir / "checkpoints").glob("*tmp*"))

    def wait(self, until: Callable[[], bool]) -> None:
        """Waits while the run lives."""
        deadline = time.monotonic() + PATIENCE
        while self.alive() and not until() and time.monotonic() < deadline:
            time.sleep(0.002)

    def result(self) -> tuple[dict[str, str], list[float]]:
        """The digests of the last state by item, and the losses of all steps."""
        folder = newest_checkpoint(self.workdir)
        assert folder
        digests = json.loads((folder / "loader" / "metadata").read_text())["digests"]
        lines = [line for line in read_metrics(self.workdir) if line["kind"] == "train"]
        return digests, [line["loss"] for line in lines]


def kill(rng: random.Random, in_save: bool) -> Callable[[Run], None]:
    """A fault: SIGKILL to both processes after some steps, at any moment or during a save."""

    def fault(run: Run) -> None:
        goal, delay = run.step() + rng.randint(1, 5), rng.uniform(0, 0.05 if in_save else 0.3)
        run.wait(lambda: run.step() >= goal)
        if in_save:
            run.wait(run.saving)
        time.sleep(delay)
        run.signal(signal.SIGKILL)

    return fault


def terminate(rng: random.Random) -> Callable[[Run], None]:
    """A fault: SIGTERM to one process."""

    def fault(run: Run) -> None:
        goal = run.step() + rng.randint(1, 5)
        run.wait(lambda: run.step() >= goal)
        run.signal(signal.SIGTERM, 1)

    return fault


def fill(run: Run) -> None:
    """A fault: the disk is filled while a checkpoint is being written."""
    goal = run.step() + 2
    run.wait(lambda: run.step() >= goal)
    run.wait(run.saving)
    with (run.workdir / "ballast").open("wb", buffering=0) as file:
        try:
            while file.write(bytes(2**16)):
                pass
        except OSError:
            pass


@contextmanager
def small_disk(folder: Path, wanted: bool) -> Iterator[bool]:
    """Makes a folder; if `wanted`, mounts a tmpfs on it. Yields whether that could be done."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={TMPFS_MIB}m", "tmpfs", str(folder)]
    wanted = wanted and os.geteuid() == 0
    mounted = wanted and subprocess.run(mount, capture_output=True).returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", str(folder)], check=True)


def starve(run: Run, mounted: bool) -> int:
    """Lets a run meet a full disk, makes space again and returns the exit status."""
    limit = "" if mounted else f"ulimit -f {FILE_KIB};"
    status = run.live(fill if mounted else None, before=limit)
    (run.workdir / "ballast").unlink(missing_ok=True)
    return status


def faults(run: Run, kills: int, terms: int, full: bool, mounted: bool) -> list[str]:
    """Does everything to a run and then lets it end; what went wrong."""
    rng, wrong = random.Random(0), []
    plan = [("kill", kill(rng, i % 2 == 0), -signal.SIGKILL) for i in range(kills)]
    plan += [("SIGTERM", terminate(rng), PREEMPTED) for _ in range(terms)]
    rng.shuffle(plan)
    if full:
        status = starve(run, mounted)
        print(f"full disk after step {run.step()}: exit status {status}", flush=True)
        if status != FULL_DISK or run.log.read_text().count("no space left for") != 1:
            wrong.append(f"full disk: exit status {status}, expected {FULL_DISK} and one line")
    for name, fault, expected in plan:
        status = run.live(fault)
        print(f"{name} after step {run.step()}: exit status {status}", flush=True)
        if status != expected:
            wrong.append(f"{name}: exit status {status}, expected {expected}")
    if (status := run.live()) != SUCCESS:
        wrong.append(f"the last life: exit status {status}")
    return wrong


def compare(out: Path, kills: int, terms: int, full: bool, steps: int = STEPS) -> list[str]:
    """Runs the unbroken and the broken run below `out`; what went wrong."""
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(out / "compiled"))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    os.environ["JAX_PLATFORMS"] = "cpu"
    unbroken = Run(out / "unbroken", steps)
    wrong = [] if unbroken.live() == SUCCESS else [f"the unbroken run failed: {unbroken.log}"]
    with small_disk(out / "broken", full) as mounted:
        run = Run(out / "broken", steps)
        wrong += faults(run, kills, terms, full, mounted)
        if not wrong and run.result() != unbroken.result():
            wrong.append("the parameters differ from those of the unbroken run")
    return wrong


def main(_: list[str]) -> None:
    """Runs the command line. Raises ConfigError."""
    args = flags.FLAGS
    out = make_folder(args.out, "--out")
    for name in ("broken", "unbroken"):
        check(not (out / name).exists(), "--out", str(out), "a folder without earlier results")
    began = time.monotonic()
    wrong = compare(out, args.kills, args.terms, args.full)
    for line in wrong:
        print(line)
    took = f"{time.monotonic() - began:.0f} s"
    print(f"{args.kills} kills, {args.terms} SIGTERM, full disk: {args.full}; {took}: ", end="")
    print("FAILED" if wrong else "equal to the unbroken run to the bit")
    if wrong:
        sys.exit(1)
    shutil.rmtree(out / "compiled", ignore_errors=True)


if __name__ == "__main__":
    flags.DEFINE_string("out", None, "folder of the runs", required=True)
    flags.DEFINE_integer("kills", 20, "how often both processes are killed", 0)
    flags.DEFINE_integer("terms", 5, "how often one process gets SIGTERM", 0)
    flags.DEFINE_bool("full", True, "whether the disk is filled once")
    run_command(main)
