"""Leaving in order when a scheduler takes the machines away: it sends SIGTERM some time before."""

import signal
import threading

import jax
from jax.experimental import multihost_utils

STATUS = 128 + signal.SIGTERM  # exit status of a run that was asked to leave


class Preempted(Exception):
    """The run was asked to leave, and has saved what it trained."""


class Preemption:
    """Listens for SIGTERM from its making to its closing."""

    def __init__(self):
        self._asked, self._before = False, None
        self._alone = jax.process_count() == 1  # else jax listens, and tells the other processes
        if self._alone and threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGTERM, self._ask)

    def reached(self, step: int) -> bool:
        """Whether to save after `step` steps and leave: the same answer on all processes.

        To be asked once after every step.
        """
        return self._asked if self._alone else multihost_utils.reached_preemption_sync_point(step)

    def close(self) -> None:
        """Leaves SIGTERM to whom it was before."""
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)

    def _ask(self, number, frame):
        self._asked = True
