"""The clips that could not be read: each is named once, and too many of them stop the run."""

import functools
import logging
import math
import threading
from collections.abc import Sequence

from videodit.config import ConfigError

JUDGED_FROM = 100  # reads: fewer say nothing of the share
NAMED = 20  # at most, when the run stops

logger = logging.getLogger(__name__)


class Broken:
    """Counts what one stream of batches reads and what of it is broken. Safe with threads."""

    def __init__(self, ids: Sequence[str], most: float):
        """`ids` of the catalog's rows; `most`: the share of all reads that may be broken."""
        self._ids, self._most = ids, most
        self._lock = threading.Lock()
        self._reads = self._broken = 0
        self._reasons = {}  # of each broken clip

    def count(self, reads: int) -> None:
        """Says that this many clips are being read; a clip that is read again counts again."""
        with self._lock:
            self._reads += reads

    def add(self, clip: int, reason: str) -> None:
        """Says that a read found the clip in row `clip` of the catalog broken, and logs it.

        Raises ConfigError with a list if the share of broken reads is over the bound by more than
        three standard deviations of chance, judged from JUDGED_FROM reads on.
        """
        with self._lock:
            self._broken += 1
            self._reasons[clip] = self._name(clip, reason)
            _log_once(self._reasons[clip])
            allowed = self._most * self._reads
            allowed += 3 * math.sqrt(allowed * (1 - self._most))
            if self._reads >= JUDGED_FROM and self._broken > allowed:
                raise ConfigError(self._report())

    def _name(self, clip: int, reason: str) -> str:
        name = str(self._ids[clip])
        return reason if f"clip {name}" in reason else f"clip {name}: {reason}"

    def _report(self) -> str:
        lines = list(self._reasons.values())
        more = [f"and {len(lines) - NAMED} more"] if len(lines) > NAMED else []
        head = (
            f"data.max_broken={self._most}: {self._broken} of the {self._reads} clips read here "
            "are broken; mend or remove them, or allow more"
        )
        return "\n  ".join([head, *lines[:NAMED], *more])


@functools.cache  # validation reads the same clips at every evaluation
def _log_once(line: str) -> None:
    logger.warning("broken: %s", line)
