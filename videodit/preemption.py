"""Saves and exits on SIGTERM, which a scheduler sends before it takes a machine, and on Ctrl-C."""

import os
import signal
import sys
import threading
from types import FrameType
from typing import Any

import jax
from jax.experimental import multihost_utils

from videodit.config.exits import INTERRUPTED, PREEMPTED


class Preempted(Exception):
    """SIGTERM or SIGINT ended the run, which has saved its state; `status`: its exit status."""

    def __init__(self, message: str, status: int = PREEMPTED) -> None:
        super().__init__(message)
        self.status = status


class Preemption:
    """Listens for SIGTERM and SIGINT (Ctrl-C) from its creation until `close`.

    The second SIGINT ends the process at once, whatever it is doing.
    """

    def __init__(self) -> None:
        self._asked = 0  # the number of the first signal
        self._before: dict[int, Any] = {}
        self._alone = jax.process_count() == 1  # otherwise jax listens and tells all processes
        if threading.current_thread() is threading.main_thread():
            heard = (signal.SIGTERM, signal.SIGINT) if self._alone else (signal.SIGINT,)
            self._before = {number: signal.signal(number, self._ask) for number in heard}

    def reached(self, step: int) -> bool:
        """Whether to save after `step` steps and leave; all processes get the same answer.

        Call it once after every step.
        """
        if self._alone:
            return bool(self._asked)
        return multihost_utils.reached_preemption_sync_point(step)

    def preempted(self, done: str) -> Preempted:
        """What to raise once all is done; `done` says what was saved."""
        if self._asked == signal.SIGINT:
            return Preempted(f"stopped by SIGINT; {done}", INTERRUPTED)
        return Preempted(f"preempted by SIGTERM; {done}")

    def close(self) -> None:
        """Restores the previous handlers."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self._asked = self._asked or number
        if number == signal.SIGINT:
            signal.signal(number, signal.SIG_DFL)
            line = "SIGINT: saving after this step; a second one leaves at once"
            print(line, file=sys.stderr, flush=True)
            if not self._alone:
                os.kill(os.getpid(), signal.SIGTERM)  # which jax hears
