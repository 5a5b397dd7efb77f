"""Several processes on this machine that train as one.

  python -m launch.processes --processes=4 [--one_gpu_each] [--dry_run] -- --config=CONFIG \
    --workdir=DIR

If one dies, the others are stopped, and all are started again (launch/supervise.py) and resume. If
all were asked to leave and one has left, the others are killed unless they follow in time.
"""

import os
import shlex
import socket
import subprocess
import sys
import time

from absl import flags

from launch.command_line import behind_dashes, run
from launch.supervise import Stopped, until_success
from videodit.config.exits import decisive

GRACE = 20.0  # seconds that processes have to leave after one of them has left or died

flags.DEFINE_integer("processes", 2, "How many.", 1)
flags.DEFINE_bool("one_gpu_each", False, "Process i sees GPU i alone.")


def environments(count: int, port: int, one_gpu_each: bool) -> list[dict[str, str]]:
    """The environment of each process, by which it finds the others (sharding.py)."""
    return [
        {
            "JAX_COORDINATOR_ADDRESS": f"localhost:{port}",
            "JAX_NUM_PROCESSES": str(count),
            "JAX_PROCESS_ID": str(i),
            **({"CUDA_VISIBLE_DEVICES": str(i)} if one_gpu_each else {}),
        }
        for i in range(count)
    ]


def run_together(command: list[str], stopped: Stopped, count: int, one_gpu_each: bool) -> int:
    """Runs `count` processes to their end and returns the decisive exit status (exits.py).

    If one fails, the others are ended. After a signal, which all of them got, they are also ended
    if one has left without them.
    """
    stopped.processes.clear()
    for environment in environments(count, _free_port(), one_gpu_each):
        stopped.start(command, env={**os.environ, **environment})
    statuses: list[int | None]
    while None in (statuses := [process.poll() for process in stopped.processes]):
        left = [status for status in statuses if status is not None]
        if any(left) or (left and stopped.signal):
            _end(stopped.processes, asked=bool(stopped.signal))
            statuses = [*left, *(process.returncode for process in stopped.processes)]
            break
        time.sleep(0.2)
    return decisive(statuses)


def _end(processes: list[subprocess.Popen], *, asked: bool) -> None:
    """Asks processes to leave, unless they were `asked`, and kills those that run after GRACE."""
    if not asked:
        for process in processes:
            process.terminate()
    deadline = time.monotonic() + GRACE
    while time.monotonic() < deadline and any(p.poll() is None for p in processes):
        time.sleep(0.1)
    for process in processes:
        process.kill()
        process.wait()


def _free_port() -> int:
    with socket.socket() as server:
        server.bind(("", 0))
        return server.getsockname()[1]


def main(argv: list[str]) -> None:
    """Runs the command line. Raises ConfigError."""
    args, arguments = flags.FLAGS, behind_dashes(argv, "the arguments of videodit.main")
    command = [sys.executable, "-m", "videodit.main", *arguments]
    if args.dry_run:
        for environment in environments(args.processes, 1234, args.one_gpu_each):
            words = [f"{name}={value}" for name, value in environment.items()]
            print(shlex.join([*words, *command]))
        return
    stopped = Stopped()
    attempt = lambda: run_together(command, stopped, args.processes, args.one_gpu_each)
    sys.exit(until_success(attempt, stopped, restarts=args.restarts))


if __name__ == "__main__":
    run(main)
