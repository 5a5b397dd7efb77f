"""Prints the progress of a long job: the share that is done, and the time left."""

import sys
import time


class Progress:
    """Counts finished items and prints their share and the seconds left, at intervals."""

    def __init__(self, total: int, what: str) -> None:
        """`total` items are to be done; `what` is their plural, such as "clips"."""
        self.total, self.what, self.done, self.skipped = total, what, 0, 0
        self.start = self.shown = time.perf_counter()
        self.every, self.end = (0.5, "\r") if sys.stdout.isatty() else (10.0, "\n")  # seconds

    def skip(self, count: int) -> None:
        """Counts items that were done by an earlier run: they do not enter the estimate."""
        self.skipped += count

    def advance(self, count: int = 1) -> None:
        """Counts items that were done now, and prints the line if it is due."""
        self.done += count
        now = time.perf_counter()
        if now - self.shown >= self.every:
            self.shown = now
            left = (self.total - self.skipped - self.done) * (now - self.start) / self.done
            share = (self.done + self.skipped) / self.total
            line = f"{share:4.0%} of the {self.what}, {left:.0f} s left   "
            print(line, end=self.end, flush=True)
