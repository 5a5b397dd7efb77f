"""Keeps account of clips that cannot be read: each is logged once, and too many stop the run."""

import functools
import logging
import math
import threading
from collections.abc import Sequence

from videodit.config import ConfigError
from videodit.data.sources.columns import Texts

JUDGED_FROM = 100  # reads; from fewer the share of broken ones cannot be judged
NAMED = 20  # clips that are listed, at most, when the run stops

logger = logging.getLogger(__name__)


class Broken:
    """Counts the reads of one stream of batches, and the broken ones. Safe with threads."""

    def __init__(self, ids: Sequence[str] | Texts, most: float) -> None:
        """`ids` are the catalog's; `most` is the share of reads that may be broken."""
        self._ids, self._most = ids, most
        self._lock = threading.Lock()
        self._reads = self._broken = 0
        self._reasons: dict[int, str] = {}  # why each broken clip is broken, by row

    def count(self, reads: int) -> None:
        """Counts so many clips as read; a clip that is read again counts again."""
        with self._lock:
            self._reads += reads

    def add(self, clip: int, reason: str) -> None:
        """Counts and logs a read that found the clip in row `clip` of the catalog broken.

        From JUDGED_FROM reads on, raises ConfigError with a list of broken clips if their share
        exceeds the bound by more than three standard deviations of chance.
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
