"""Exit statuses of a run, and which of them launchers answer by starting it again.

Launchers also end with the status of their run. A process that a signal N killed counts as 128 + N,
as in shells. A status without a row is worth a retry: a machine, a network or a driver failed.
"""

import signal
from collections.abc import Sequence
from typing import NamedTuple

SUCCESS = 0
USER_ERROR = 2
DIVERGED = 3
FULL_DISK = 75
INTERRUPTED = 128 + signal.SIGINT
PREEMPTED = 128 + signal.SIGTERM


class Exit(NamedTuple):
    """What a status means, and whether it is final; if not, the least pause before a retry."""

    status: int
    meaning: str
    final: bool
    pause: float = 0.0  # seconds


TABLE = (
    Exit(SUCCESS, "the run is complete", final=True),
    Exit(USER_ERROR, "a user's error, named in one line", final=True),
    Exit(DIVERGED, "the loss or its gradient stays NaN or infinite", final=True),
    Exit(FULL_DISK, "no space is left on a disk", final=False, pause=300.0),
    Exit(INTERRUPTED, "Ctrl-C (SIGINT)", final=True),
    Exit(PREEMPTED, "SIGTERM: the run was asked to leave and has saved", final=False),
)


def is_final(status: int) -> bool:
    """Whether a run that ended with this status is not to be started again."""
    row = _row(status)
    return row is not None and row.final


def least_pause(status: int) -> float:
    """Seconds to wait at least before a run that ended with this status is started again."""
    row = _row(status)
    return row.pause if row else 0.0


def decisive(statuses: Sequence[int | None]) -> int:
    """The status of a run whose processes ended with these: the one that says most about why.

    A final failure comes first, then what needs a pause, then the first that is not 0; a process
    that ends takes the others with it, and those may end with any status.
    """
    failed = [status for status in statuses if status]
    order = lambda status: (not is_final(status), -least_pause(status))
    return min(failed, key=order, default=SUCCESS)


def _row(status: int) -> Exit | None:
    shown = status if status >= 0 else 128 - status
    return next((row for row in TABLE if row.status == shown), None)
