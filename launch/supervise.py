"""Runs a command on this machine until it succeeds.

  python -m launch.supervise [--dry_run] -- python -m videodit.main --config=CONFIG --workdir=DIR

A command that fails is started again after a pause, which grows with every failure in a row; a run
resumes from its newest checkpoint. Some exit statuses are final, such as 2, a user's error
(videodit/config/exits.py), and so are those that --final lists. SIGTERM and SIGINT are passed on to
the command, which saves and leaves; it is then not started again. SIGHUP, which a closing terminal
sends, is passed on as SIGTERM, unless nohup ignores it.
"""

import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

from absl import flags

from launch.command_line import behind_dashes, run
from videodit.config import check
from videodit.config.exits import is_final, least_pause

FIRST_PAUSE, LONGEST_PAUSE = 5.0, 300.0  # seconds
HEALTHY = 600.0  # seconds; after a command ran for so long the pauses are short again

flags.DEFINE_integer("restarts", 100, "Failures after which the command is given up.", 0)
flags.DEFINE_list("final", [], "Exit statuses after which the command is not started again.")
flags.DEFINE_bool("dry_run", False, "Only print what would be run.")
flags.register_validator(
    "final", lambda found: all(map(str.isdecimal, found)), "expected numbers, as in 143,144"
)


class Stopped:
    """Passes SIGTERM, SIGINT and SIGHUP on to the processes of `start`.

    `signal` is the number of the signal that was passed on, or 0 if none has come yet.
    """

    def __init__(self) -> None:
        """Handles the signals from now on."""
        self.signal = 0
        self.processes: list[subprocess.Popen] = []
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # nohup ignores it
            signal.signal(signal.SIGHUP, self._stop)

    def start(self, command: Sequence[str], **options: Any) -> subprocess.Popen:
        """Does subprocess.Popen in a new session, so that it gets only signals passed on to it."""
        process = subprocess.Popen(command, start_new_session=True, **options)
        self.processes.append(process)
        if self.signal:  # which came while the process was being started
            process.send_signal(self.signal)
        return process

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.signal = signal.SIGTERM if number == signal.SIGHUP else number  # a run saves on it
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(self.signal)


def until_success(
    attempt: Callable[[], int],
    stopped: Stopped,
    *,
    restarts: int,
    final: Sequence[int] = (),
    pause: float = FIRST_PAUSE,
) -> int:
    """Calls `attempt` until it returns 0, and returns its last exit status.

    It is not called again after a status that is final (videodit/config/exits.py) or in `final`, a
    signal, or `restarts` restarts. `pause`: seconds before the first restart, at least.
    """
    wait = pause
    for left in range(restarts, -1, -1):
        began = time.monotonic()
        status = attempt()
        if is_final(status) or status in final or stopped.signal or not left:
            break
        if time.monotonic() - began > HEALTHY:
            wait = pause
        seconds = max(wait, least_pause(status))
        print(f"exit status {status}; starting again in {seconds:g} s", file=sys.stderr, flush=True)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not stopped.signal:
            time.sleep(min(0.2, seconds))
        if stopped.signal:
            break
        wait = min(2 * wait, LONGEST_PAUSE)
    return status


def main(argv: list[str]) -> None:
    """Runs the command line. Raises ConfigError."""
    command, args = behind_dashes(argv, "the command to run"), flags.FLAGS
    check(bool(shutil.which(command[0])), "command", command[0], "a program")
    if args.dry_run:
        print(shlex.join(command))
        return
    stopped, final = Stopped(), tuple(map(int, args.final))
    attempt = lambda: stopped.start(command).wait()
    sys.exit(until_success(attempt, stopped, restarts=args.restarts, final=final))


if __name__ == "__main__":
    run(main)
