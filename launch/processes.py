"""Several processes on this machine that train as one.

  python -m launch.processes --processes=4 [--one_gpu_each] [--dry_run] -- --config=CONFIG \
    --workdir=DIR

If one dies the others are stopped, and all are started again (launch/supervise.py) and resume.
"""

import os
import shlex
import socket
import sys
import time

from absl import app, flags

from launch.supervise import Stopped, until_success

GRACE = 20.0  # seconds that processes have to leave when one of them has died

flags.DEFINE_integer("processes", 2, "How many.", 1)
flags.DEFINE_bool("one_gpu_each", False, "Process i sees GPU i alone.")


def environments(count: int, port: int, one_gpu_each: bool) -> list[dict[str, str]]:
    """What the environment of each process says of the others (sharding.py:join_processes)."""
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
    """Runs `count` processes to their end; if one fails, ends the others. Returns its status."""
    stopped.processes.clear()
    for environment in environments(count, _free_port(), one_gpu_each):
        stopped.start(command, env={**os.environ, **environment})
    while True:
        statuses = [process.poll() for process in stopped.processes]
        failed = [status for status in statuses if status]
        if failed and not stopped.signal:
            _end(stopped.processes)
            return failed[0]
        if None not in statuses:
            return failed[0] if failed else 0
        time.sleep(0.2)


def _end(processes) -> None:
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


def main(argv):
    args = flags.FLAGS
    if len(argv) < 2:
        raise app.UsageError("expected -- and the arguments of videodit.main")
    command = [sys.executable, "-m", "videodit.main", *argv[1:]]
    if args.dry_run:
        for environment in environments(args.processes, 1234, args.one_gpu_each):
            words = [f"{name}={value}" for name, value in environment.items()]
            print(shlex.join([*words, *command]))
        return
    stopped = Stopped()
    attempt = lambda: run_together(command, stopped, args.processes, args.one_gpu_each)
    sys.exit(until_success(attempt, stopped, restarts=args.restarts))


if __name__ == "__main__":
    app.run(main)
