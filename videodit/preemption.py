"""Saves and exits on SIGTERM, which a scheduler sends some time before it takes a machine away."""

import signal
import threading
from types import FrameType

import jax
from jax.experimental import multihost_utils

STATUS = 128 + signal.SIGTERM  # exit status of a run that was preempted


class Preempted(Exception):
    """SIGTERM ended the run, which has saved its state."""


class Preemption:
    """Listens for SIGTERM from its creation until `close`."""

    def __init__(self) -> None:
        self._asked, self._before = False, None
        self._alone = jax.process_count() == 1  # otherwise jax listens and tells all processes
        if self._alone and threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGTERM, self._ask)

    def reached(self, step: int) -> bool:
        """Whether to save after `step` steps and leave; all processes get the same answer.

        Call it once after every step.
        """
        return self._asked if self._alone else multihost_utils.reached_preemption_sync_point(step)

    def close(self) -> None:
        """Restores the previous handler of SIGTERM."""
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self._asked = True
