"""Keeps account of clips that cannot be read: each is logged once, and too many stop the run."""

import functools
import logging
import math
import threading
from collections import Counter
from collections.abc import Mapping, Sequence

from videodit.config import ConfigError
from videodit.data.sources.columns import Texts

JUDGED_FROM = 100  # reads; from fewer the share of broken ones cannot be judged
LOST = 20  # slots in a row for which no clip can be read: their source is lost
NAMED = 20  # clips that are listed, at most, when the run stops

logger = logging.getLogger(__name__)


class Broken:
    """Counts the reads of one stream of batches, and the broken ones. Safe with threads."""

    def __init__(
        self, ids: Sequence[str] | Texts, most: float, sources: Mapping[str, range] | None = None
    ) -> None:
        """`ids` are the catalog's; `most` is the share of reads that may be broken.

        sources: the rows of the catalog that belong to each source of a mixture.
        """
        self._ids, self._most, self._sources = ids, most, dict(sources or {})
        self._lock = threading.Lock()
        self._reads = self._broken = self._empty = 0
        self._empty_of: Counter[str] = Counter()  # by source: empty slots since the last clip
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
            self._reasons[clip] = line = name_clip(self._ids, clip, reason)
            _log_once(line)
            allowed = self._most * self._reads
            allowed += 3 * math.sqrt(allowed * (1 - self._most))
            if self._reads >= JUDGED_FROM and self._broken > allowed:
                share = f"{self._broken} of the {self._reads} clips read here are broken"
                head = f"data.max_broken={self._most}: {share}; mend or remove them, or allow more"
                raise ConfigError(report(head, list(self._reasons.values())))

    def judge(self, clip: int, found: bool) -> None:
        """Notes whether there is a clip in a slot that was planned for `clip`: it, or a spare.

        Raises ConfigError with the newest reasons after LOST empty slots in a row, whatever share
        may be broken; after as many of one source of a mixture, it logs that the source is lost.
        """
        with self._lock:
            self._empty = 0 if found else self._empty + 1
            if self._empty == LOST:
                head = f"data.catalog: not one of the last {LOST} clips, nor a spare, can be read"
                raise ConfigError(report(head, list(self._reasons.values())[-NAMED:]))
            for name, rows in self._sources.items():
                if clip in rows:
                    self._empty_of[name] = 0 if found else self._empty_of[name] + 1
                    if self._empty_of[name] == LOST:
                        message = "data.mixture: not one of the last %d clips of %r can be read: %s"
                        logger.warning(message, LOST, name, self._reasons.get(clip, "no spare"))


def name_clip(ids: Sequence[str] | Texts, clip: int, reason: str) -> str:
    """Why a clip is broken, with its name; `clip` is its row of the catalog."""
    name = str(ids[clip])
    return reason if f"clip {name}" in reason else f"clip {name}: {reason}"


def report(head: str, lines: Sequence[str]) -> str:
    """A message with the first NAMED of the reasons why clips are broken."""
    more = [f"and {len(lines) - NAMED} more"] if len(lines) > NAMED else []
    return "\n  ".join([head, *lines[:NAMED], *more])


@functools.cache  # validation reads the same clips at every evaluation
def _log_once(line: str) -> None:
    logger.warning("broken: %s", line)
