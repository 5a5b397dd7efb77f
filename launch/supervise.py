"""Runs a command on this machine until it succeeds.

  python -m launch.supervise [--dry_run] -- python -m videodit.main --config=CONFIG --workdir=DIR

A command that fails is started again after a pause that grows with every failure in a row; a run
resumes from its newest checkpoint. Exit status 2, a user's error, is final, as are those of --final
(143: the run was asked to leave, and has saved). SIGTERM and SIGINT are passed on to the command,
which saves and leaves, and is then not started again.
"""

import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

from absl import app, flags

USER_ERROR = 2
FIRST_PAUSE, LONGEST_PAUSE = 5.0, 300.0  # seconds
HEALTHY = 600.0  # a command that ran for so many seconds begins the pauses anew

flags.DEFINE_integer("restarts", 100, "Failures after which the command is given up.", 0)
flags.DEFINE_list("final", [], "Exit statuses after which the command is not started again.")
flags.DEFINE_bool("dry_run", False, "Only print what would be run.")


class Stopped:
    """Whether SIGTERM or SIGINT came; hands them on to the processes that `start` started."""

    def __init__(self):
        self.signal, self.processes = 0, []
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)

    def start(self, command: Sequence[str], **options) -> subprocess.Popen:
        """As subprocess.Popen, in a session of its own, so that it hears only what is handed on."""
        process = subprocess.Popen(command, start_new_session=True, **options)
        self.processes.append(process)
        if self.signal:  # it came while the process was being started
            process.send_signal(self.signal)
        return process

    def _stop(self, number, frame):
        self.signal = number
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(number)


def until_success(
    attempt: Callable[[], int],
    stopped: Stopped,
    *,
    restarts: int,
    final: Sequence[int] = (),
    pause: float = FIRST_PAUSE,
) -> int:
    """Calls `attempt` until it returns 0, or a status after which it is not to be called again.

    These are a user's error and `final`; and any after a signal, or after `restarts` others.
    Returns the last exit status.
    """
    wait, ends = pause, {0, USER_ERROR, *final}
    for left in range(restarts, -1, -1):
        began = time.monotonic()
        status = attempt()
        if status in ends or stopped.signal or not left:
            break
        if time.monotonic() - began > HEALTHY:
            wait = pause
        print(f"exit status {status}; starting again in {wait:g} s", file=sys.stderr, flush=True)
        deadline = time.monotonic() + wait
        while time.monotonic() < deadline and not stopped.signal:
            time.sleep(min(0.2, wait))
        if stopped.signal:
            break
        wait = min(2 * wait, LONGEST_PAUSE)
    return status


def main(argv):
    command = argv[1:]
    if not command:
        raise app.UsageError("expected -- and the command to run")
    if flags.FLAGS.dry_run:
        print(shlex.join(command))
        return
    stopped, args = Stopped(), flags.FLAGS
    attempt = lambda: stopped.start(command).wait()
    final = map(int, args.final)
    sys.exit(until_success(attempt, stopped, restarts=args.restarts, final=tuple(final)))


if __name__ == "__main__":
    app.run(main)
