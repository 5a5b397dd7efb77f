"""The packing plan: which clips lie in which row at which step, from the catalog alone.

The training clips are shuffled anew every epoch. The shuffled order is cut into windows, each of
which is packed on its own into exactly `rows_per_window` rows, so that a step finds its rows by
division and the only state is the step. A window takes the next clips of the order, whatever their
size, until they would fill more than a share of it (`Plan.target`, tried at construction); the few
that then fit into no row, and the end of a round, wait for another epoch.

A *round* is one epoch, or for a small catalog as many as make ROUND_WINDOWS windows.
"""

import functools
import itertools
import math
import threading
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from videodit.config import ConfigError, DataConfig
from videodit.data import patches
from videodit.data.catalog import Catalog
from videodit.data.fitting import fit_decreasing
from videodit.data.given import TASKS
from videodit.data.patches import Size

ROUND_WINDOWS = 16  # at least, so that the end of a round is at most 1/16 of it
TARGETS = (1.0, 0.998, 0.995, 0.99, *np.arange(0.98, 0.1, -0.02).round(2).tolist())
TRIAL_CLIPS = 2000  # that a target is tried on
UNPLACED = 0.001  # share of the clips on trial that may fit into no row


class Placed(NamedTuple):
    """One clip of a row."""

    clip: int  # row of the catalog
    sample_id: int  # which draw of the endless stream of clips, modulo 2**32
    caption: int  # which of the clip's captions
    task_id: int  # index into data/given.py:TASKS


Row = tuple[Placed, ...]


class Plan:
    """Rows of clips for every step: a pure function of (catalog, config, seed, step)."""

    def __init__(self, catalog: Catalog, cfg: DataConfig, seed: int, patch: Size):
        """Tries the target on the first windows; no frame is read.

        Raises ConfigError if no clip is for training, if a clip has more tokens than a row or no
        caption that fits into one, and for a bad seed or bad weights of tasks.
        """
        if seed < 0:
            raise ConfigError(f"seed={seed}: expected 0 or more")
        self.catalog, self.cfg, self.seed, self.patch = catalog, cfg, seed, patch
        self.tokens = _vision_tokens(catalog, cfg.row_tokens, patch)  # of every clip
        self._captions = _fitting_captions(catalog, cfg.text_tokens)
        self._task_bounds = _task_bounds(cfg)
        self._train = np.flatnonzero(np.asarray(catalog.split) == "train")
        if not len(self._train):
            raise ConfigError(f"data.catalog: none of its {len(catalog)} clips is for training")
        self._epochs = math.ceil(ROUND_WINDOWS / self._windows_an_epoch(1.0))
        self.target = self._find_target()
        self._windows = int(self._epochs * self._windows_an_epoch(self.target))  # of a round
        self._round = functools.lru_cache(maxsize=2)(self._draw_round)
        self._window = functools.lru_cache(maxsize=4)(self._pack_window)
        self._lock = threading.Lock()  # or several threads would pack the same window

    def rows(self, step: int) -> list[Row]:
        """The batch_rows rows of a step."""
        window, first = divmod(step * self.cfg.batch_rows, self.cfg.rows_per_window)
        with self._lock:
            return self._window(window)[first : first + self.cfg.batch_rows]

    def validation_rows(self) -> list[list[Row]]:
        """Batches of batch_rows rows that hold every "val" clip once, always in the same order.

        The packer leaves like rows together; shuffled, the first batches stand for all of them.
        A clip has its first caption that fits and the task `generate`; its sample id is its row of
        the catalog. Empty rows complete the last batch.
        """
        clips = np.flatnonzero(np.asarray(self.catalog.split) == "val")
        captions = self._captions.first[clips]
        texts = self._captions.tokens[captions].tolist()
        indices = self._captions.index[captions].tolist()
        placed = [Placed(clip, clip, index, 0) for clip, index in zip(clips.tolist(), indices)]
        packed = fit_decreasing(self.tokens[clips].tolist(), texts, **self._capacity())
        order = np.random.default_rng(0).permutation(len(packed))
        rows = [tuple(placed[i] for i in packed[row]) for row in order]
        size = self.cfg.batch_rows
        rows += [()] * (-len(rows) % size)
        return [rows[start : start + size] for start in range(0, len(rows), size)]

    def fill(self, steps: Iterable[int]) -> float:
        """The share of real vision tokens in the rows of these steps."""
        rows = [row for step in steps for row in self.rows(step)]
        used = sum(self.tokens[placed.clip] for row in rows for placed in row)
        return float(used / (len(rows) * self.cfg.row_tokens))

    def left_over(self) -> float:
        """The share of the first round's draws that no row holds: packs the whole round."""
        packed = map(self._pack_window, range(self._windows))
        placed = sum(len(row) for rows in packed for row in rows)
        return 1 - placed / (self._epochs * len(self._train))

    def _capacity(self) -> dict[str, int]:
        names = ("row_tokens", "text_tokens", "max_segments")
        return {name: getattr(self.cfg, name) for name in names}

    def _budget(self, target: float) -> np.ndarray:
        """Tokens, text tokens and clips of one window; at least one clip of any kind."""
        largest = [self.tokens.max(), self._captions.tokens.max(), 1]
        window = np.array(list(self._capacity().values())) * self.cfg.rows_per_window
        return np.maximum((target * window).astype(int), largest)

    def _windows_an_epoch(self, target: float) -> float:
        """Windows that any epoch fills, even if every clip came with its shortest caption.

        What binds most (tokens, text or segments) says how many: the others last at least as long.
        """
        shortest = np.minimum.reduceat(self._captions.tokens, self._captions.first)
        clips = self._train
        total = np.array([self.tokens[clips].sum(), shortest[clips].sum(), len(clips)])
        return float(max(total / self._budget(target)))

    def _find_target(self) -> float:
        """The largest of TARGETS at which nearly all clips of the first windows fit into rows."""
        draws = self._draw(0)
        for target in TARGETS:
            ends = draws.cut(self._budget(target), ROUND_WINDOWS)
            last = min(int(np.searchsorted(ends, TRIAL_CLIPS)), ROUND_WINDOWS)
            packed = [self._fit(draws, *ends[i : i + 2]) for i in range(last)]
            if sum(len(row) for rows in packed for row in rows) >= (1 - UNPLACED) * ends[last]:
                break
        return target

    def _draw(self, number: int) -> "_Draws":
        """The clips of a round in shuffled order, each with its caption and task."""
        epochs = np.tile(self._train, (self._epochs, 1))
        clips = np.random.default_rng([self.seed, number]).permuted(epochs, axis=1).reshape(-1)
        sample_ids = (np.arange(len(clips)) + number * len(clips)) % 2**32
        caption, task = (_uniform(self.seed, sample_ids, stream) for stream in ("caption", "task"))
        captions = self._captions.first[clips] + (caption * self._captions.count[clips]).astype(int)
        return _Draws(
            clips=clips,
            sample_ids=sample_ids,
            captions=self._captions.index[captions],
            task_ids=np.searchsorted(self._task_bounds, task, side="right"),
            costs=np.stack(
                [self.tokens[clips], self._captions.tokens[captions], np.ones_like(clips)]
            ),
        )

    def _draw_round(self, number: int) -> tuple["_Draws", list[int]]:
        draws = self._draw(number)
        return draws, draws.cut(self._budget(self.target), self._windows)

    def _fit(self, draws: "_Draws", start: int, end: int) -> list[list[int]]:
        lengths, texts, _ = draws.costs[:, start:end].tolist()
        return fit_decreasing(lengths, texts, **self._capacity(), rows=self.cfg.rows_per_window)

    def _pack_window(self, window: int) -> list[Row]:
        number, at = divmod(window, self._windows)
        draws, ends = self._round(number)
        start, end = ends[at], ends[at + 1]
        columns = (draws.clips, draws.sample_ids, draws.captions, draws.task_ids)
        placed = list(map(Placed, *(column[start:end].tolist() for column in columns)))
        rows = [tuple(placed[i] for i in row) for row in self._fit(draws, start, end)]
        # Neighbouring rows of the packer are alike; a batch should be a fair draw of the window.
        order = np.random.default_rng([self.seed, number, at + 1]).permutation(len(rows))
        return [rows[i] for i in order]


class _Draws(NamedTuple):
    """The draws of a round, in order."""

    clips: np.ndarray  # n int: row of the catalog
    sample_ids: np.ndarray  # n int
    captions: np.ndarray  # n int: which of the clip's captions
    task_ids: np.ndarray  # n int
    costs: np.ndarray  # 3 n int: tokens, text tokens, segments

    def cut(self, budget: np.ndarray, windows: int) -> list[int]:
        """Bounds of windows that each take the most draws within the budget: windows + 1 ints."""
        sums = np.pad(self.costs.cumsum(1), ((0, 0), (1, 0)))
        bounds = [0]
        for _ in range(windows):
            full = sums[:, bounds[-1]] + budget
            bounds.append(min(int(np.searchsorted(s, f, "right")) - 1 for s, f in zip(sums, full)))
        return bounds


class _Captions(NamedTuple):
    """The captions that fit into a row, those of a clip side by side."""

    first: np.ndarray  # of each clip, into the arrays below
    count: np.ndarray  # of each clip
    tokens: np.ndarray  # of each caption
    index: np.ndarray  # of each caption among the clip's captions


def _vision_tokens(catalog: Catalog, limit: int, patch: Size) -> np.ndarray:
    t, h, w = patches.grid(catalog.frames, catalog.height, catalog.width, patch)
    tokens = np.asarray(t * h * w, np.int64)
    if (tokens > limit).any():
        i, more = int(tokens.argmax()), int((tokens > limit).sum()) - 1
        size = f"{catalog.width[i]}x{catalog.height[i]}, {catalog.frames[i]} frames"
        raise ConfigError(
            f"data.row_tokens={limit}: clip {catalog.ids[i]} ({size}) has {tokens[i]} tokens "
            f"in patches of {patch}; {more} other clips are too long"
        )
    return tokens


def _fitting_captions(catalog: Catalog, limit: int) -> _Captions:
    counts = np.fromiter(map(len, catalog.text_tokens), np.int64, len(catalog))
    tokens = np.fromiter(itertools.chain.from_iterable(catalog.text_tokens), np.int64)
    index = np.arange(len(tokens)) - np.repeat(counts.cumsum() - counts, counts)
    clip, fits = np.repeat(np.arange(len(catalog)), counts), tokens <= limit
    count = np.bincount(clip[fits], minlength=len(catalog))
    if not count.all():
        i, more = int(count.argmin()), int((count == 0).sum()) - 1
        raise ConfigError(
            f"data.text_tokens={limit}: clip {catalog.ids[i]} has no caption that fits, theirs "
            f"have {list(catalog.text_tokens[i])} tokens; {more} other clips have none either"
        )
    return _Captions(count.cumsum() - count, count, tokens[fits], index[fits])


def _task_bounds(cfg: DataConfig) -> np.ndarray:
    weights = np.array([getattr(cfg.tasks, name) for name in TASKS])
    if (weights < 0).any() or not weights.sum() > 0:
        raise ConfigError(f"data.tasks={cfg.tasks}: expected weights of 0 or more, not all 0")
    return (weights / weights.sum()).cumsum()[:-1]


def _uniform(seed: int, sample_ids: np.ndarray, stream: str) -> np.ndarray:
    """A float64 in [0, 1) for each sample id: SplitMix64 (Steele et al., OOPSLA 2014)."""
    key = np.random.SeedSequence([seed, *stream.encode()]).generate_state(1, np.uint64)
    x = key + sample_ids.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((x ^ (x >> np.uint64(31))) >> np.uint64(11)) * 2.0**-53
