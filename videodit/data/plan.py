"""The packing plan: which clips lie in which row at which step, from the catalog alone.

The clips are drawn in an endless shuffled order (data/draws.py). It is cut into windows of a fixed
number of draws, each of which is packed on its own into exactly `rows_per_window` rows, so that a
step finds its rows by division and the only state is the step. A window packs its draws in random
order until they would fill more than a share of it (`Stage.target`, tried at construction). The few
that are left over wait for the next epoch, as does what fits into no row.

Every source of a mixture has an order of its own and a fixed share of a window's tokens; so have
images, if their share is set. The schedules of data.sampling change between windows.
"""

import bisect
import dataclasses
import functools
import itertools
import threading
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from videodit.config import ConfigError, DataConfig
from videodit.data import draws
from videodit.data.balance import balanced_order, imbalance
from videodit.data.catalog import Catalog, Part
from videodit.data.draws import Draws, Order, Sampler, hash_key, mix
from videodit.data.fitting import fit_decreasing
from videodit.data.patches import Size
from videodit.data.video import View

TARGETS = (1.0, 0.998, 0.995, 0.99, *np.arange(0.98, 0.1, -0.02).round(2).tolist())
TRIAL_CLIPS = 2000  # that a target is tried on
TRIAL_DRAWS = 60_000  # about as many say how many draws a window needs
TRIAL_WINDOWS = (2, 16)  # at least, at most
UNPLACED = 0.002  # share of the clips on trial that may fit into no row
TEXT_COST = 0.002  # share of the rows that a chosen text_tokens may leave empty
TEXT_UNIT = 128  # a chosen text_tokens is a multiple of it
SPARES = 256  # clips among which one is looked for that fits into the place of a broken one


class Placed(NamedTuple):
    """One clip of a row."""

    clip: int  # row of the catalog
    sample_id: int  # which draw of the endless stream of clips, modulo 2**32
    caption: int  # which of the clip's captions
    task_id: int  # index into data/given.py:TASKS
    view: View  # what of the clip is seen, at which size
    keep: int  # vision tokens that stay
    drop_static: int  # of the dropped ones, those that go because they repeat the previous frame


Row = tuple[Placed, ...]


class Stage(NamedTuple):
    """A stretch of windows in which no schedule changes."""

    window: int  # the first
    step: int  # the first
    target: float  # share of a window's vision tokens that its draws are to fill
    shares: tuple[float, ...]  # of a window's vision tokens, of each stream
    counts: tuple[int, ...]  # draws of a window, of each stream
    offsets: tuple[int, ...]  # draws before the first window, of each stream


class Window(NamedTuple):
    """A packed window."""

    draws: Draws  # those taken, of n
    rows: list[list[int]]  # of indices into the draws, in the order of training
    offered: int  # draws of the window, with those that were not taken


class Plan:
    """Rows of clips for every step: a pure function of (catalog, config, seed, step).

    `cfg` is the config with the chosen text_tokens, `stages` the stretches without change.
    """

    def __init__(
        self,
        catalog: Catalog,
        cfg: DataConfig,
        seed: int,
        patch: Size,
        parts: Sequence[Part] = (),
    ):
        """Tries how full the first windows can be made; no frame is read.

        `parts`: the sources of a mixture. Raises ConfigError if a part has no clip for training,
        if a clip has more tokens than a row or no caption that fits into one, and for a bad seed
        or bad weights of tasks.
        """
        if seed < 0:
            raise ConfigError(f"seed={seed}: expected 0 or more")
        self.catalog, self.cfg, self.seed, self.patch = catalog, cfg, seed, patch
        self._parts = tuple(parts) or (Part(0, len(catalog), 1.0),)
        self._train = np.asarray(catalog.split) == "train"
        self._check_parts()
        self._streams = list(self._make_streams())
        self._sampler = Sampler(catalog, cfg, seed, patch)
        if not cfg.text_tokens:
            self.cfg = dataclasses.replace(cfg, text_tokens=self._choose_text_tokens())
        self.stages = self._make_stages()
        self._window = functools.lru_cache(maxsize=4)(self._pack_window)
        self._step = functools.lru_cache(maxsize=4)(self._place_step)
        self._validation = functools.cache(self._pack_validation)
        self._lock = threading.Lock()  # or several threads would pack the same window

    def rows(self, step: int) -> list[Row]:
        """The batch_rows rows of a step, ordered so that hosts have like shares of the work."""
        return self._step(step)

    def validation_rows(self) -> list[list[Row]]:
        """Batches of batch_rows rows that hold every "val" clip once, always in the same order.

        The packer leaves like rows together; shuffled, the first batches stand for all of them.
        Clips are seen as `Sampler.held_out` says, with the task `generate`. Empty rows complete
        the last batch.
        """
        return self._validation()

    def spare(self, placed: Placed, step: int, row: int, slot: int) -> Placed | None:
        """What stands in for a clip that cannot be read, or None if nothing is small enough.

        `row` and `slot` say where in the global batch of the step. It has no more vision and text
        tokens than `placed`, comes from the same source (an image for an image, where images are
        drawn apart), and is a function of (seed, step, row,
        slot): the longest that fits of SPARES random clips.
        """
        kinds = ("", "images" if self.catalog.frames[placed.clip] == 1 else "videos")
        streams = (s for s in self._streams if s.start <= placed.clip < s.stop)
        order = next(stream.order for stream in streams if stream.kind in kinds)
        stage = self._stage(step * self.cfg.batch_rows // self.cfg.rows_per_window)
        key = hash_key(self.seed, "spare", str(step), str(row), str(slot))
        numbers = (mix(key + np.arange(SPARES, dtype=np.uint64)) >> np.uint64(2)).astype(np.int64)
        drawn = self._sampler(order(numbers), numbers, stage.step)
        text = self._sampler.text_of(placed.clip, placed.caption)
        fits = (drawn.keep <= placed.keep) & (drawn.text <= text) & (drawn.clip != placed.clip)
        if not fits.any():
            return None
        drawn = drawn.take(fits)
        return _place(drawn, [[int(drawn.keep.argmax())]])[0][0]._replace(
            sample_id=placed.sample_id, task_id=placed.task_id
        )

    def metrics(self, step: int, shares: int = 1) -> dict[str, float]:
        """What the plan says of a step.

        imbalance: attention work of the heaviest of `shares` equal parts of the batch over the
        mean; tokens_dropped: share of the clips' vision tokens; left_over: share of the window's
        draws that wait for the next epoch.
        """
        window, rows = self._rows(step)
        used = [i for row in rows for i in row]
        costs = _sums(rows, np.square(window.draws.keep)).tolist()
        kept, whole = window.draws.keep[used].sum(), window.draws.tokens[used].sum()
        placed = sum(map(len, window.rows))
        return {
            "imbalance": imbalance(costs, shares),
            "tokens_dropped": float(1 - kept / whole),
            "left_over": 1 - placed / window.offered,
        }

    def lengths(self, step: int) -> list[tuple[int, int, int]]:
        """Of every clip of a step: vision tokens that stay, those before dropping, text tokens."""
        window, rows = self._rows(step)
        used = np.array([i for row in rows for i in row], np.int64)
        columns = (window.draws.keep, window.draws.tokens, window.draws.text)
        return list(zip(*(column[used].tolist() for column in columns)))

    def fill(self, steps: Iterable[int]) -> float:
        """The share of real vision tokens in the rows of these steps."""
        lengths = [self.lengths(step) for step in steps]
        used = sum(keep for clips in lengths for keep, _, _ in clips)
        return used / (len(lengths) * self.cfg.batch_rows * self.cfg.row_tokens)

    def text_fill(self, steps: Iterable[int]) -> float:
        """The share of real text tokens in the rows of these steps."""
        lengths = [self.lengths(step) for step in steps]
        used = sum(text for clips in lengths for _, _, text in clips)
        return used / (len(lengths) * self.cfg.batch_rows * self.cfg.text_tokens)

    # Streams and stages.

    def _check_parts(self) -> None:
        for part in self._parts:
            if not self._train[part.start : part.stop].any():
                raise ConfigError(
                    f"data.catalog: none of the {part.stop - part.start} clips from "
                    f"{self.catalog.ids[part.start]!r} on is for training"
                    if part.stop > part.start
                    else "data.catalog: it has no clip for training"
                )

    def _make_streams(self):
        apart = any(row[1] for row in self.cfg.sampling.images)
        total = sum(part.weight for part in self._parts)
        for number, part in enumerate(self._parts):
            clips = part.start + np.flatnonzero(self._train[part.start : part.stop])
            columns = (self.catalog.width, self.catalog.height, self.catalog.frames)
            sizes = functools.reduce(np.multiply, (c[clips].astype(np.int64) for c in columns))
            images = self.catalog.frames[clips] == 1
            mixed = apart and images.any() and not images.all()
            for name, mask in (("images", images), ("videos", ~images)) if mixed else (("", None),):
                chosen = (clips, sizes) if mask is None else (clips[mask], sizes[mask])
                order = Order(*chosen, self.seed, f"{number} {name}")
                yield _Stream(part.start, part.stop, order, part.weight / total, name)

    def _make_stages(self) -> list[Stage]:
        made, offsets, before = [], (0,) * len(self._streams), None
        for step in draws.stages(self.cfg.sampling):
            window = -(-step * self.cfg.batch_rows // self.cfg.rows_per_window)
            if before:
                passed = window - before.window
                offsets = tuple(o + passed * c for o, c in zip(before.offsets, before.counts))
            trial = _Trial(self, step)
            before = trial.stage(window, offsets)
            if made and made[-1].window == window:  # shorter than a window
                made.pop()
            made.append(before)
        return made

    def _choose_text_tokens(self) -> int:
        """The least S, a multiple of TEXT_UNIT, that keeps no row from being as full."""
        longest = int(self._sampler.captions.tokens.max(initial=1))
        needs = [_Trial(self, step).text_tokens() for step in draws.stages(self.cfg.sampling)]
        return -(-max(longest, *needs) // TEXT_UNIT) * TEXT_UNIT

    # Windows.

    def _rows(self, step: int) -> tuple[Window, list[list[int]]]:
        number, first = divmod(step * self.cfg.batch_rows, self.cfg.rows_per_window)
        with self._lock:
            window = self._window(number)
        return window, window.rows[first : first + self.cfg.batch_rows]

    def _place_step(self, step: int) -> list[Row]:
        window, rows = self._rows(step)
        return _place(window.draws, rows)

    def _stage(self, window: int) -> Stage:
        return next(stage for stage in reversed(self.stages) if stage.window <= window)

    def _pack_window(self, number: int) -> Window:
        stage = self._stage(number)
        passed = number - stage.window
        starts = [o + passed * c for o, c in zip(stage.offsets, stage.counts)]
        offered = list(map(self._shuffle, self._draw(starts, stage.counts, stage.step)))
        cuts = self._cuts(offered, stage.target, stage.shares)
        taken = draws.concatenate([drawn.take(slice(cut)) for drawn, cut in zip(offered, cuts)])
        rows = self._order(taken, self._fit(taken), number)
        return Window(taken, rows, sum(stage.counts))

    def _pack_validation(self) -> list[list[Row]]:
        clips = np.flatnonzero(np.asarray(self.catalog.split) == "val")
        held_out = self._sampler.held_out(clips)
        packed = fit_decreasing(held_out.keep.tolist(), held_out.text.tolist(), **self._capacity())
        order = np.random.default_rng(0).permutation(len(packed))
        rows = _place(held_out, [packed[row] for row in order])
        size = self.cfg.batch_rows
        rows += [()] * (-len(rows) % size)
        return [rows[start : start + size] for start in range(0, len(rows), size)]

    def _draw(self, starts: Sequence[int], counts: Sequence[int], step: int) -> list[Draws]:
        """Draws of each stream, `counts` from number `starts` on."""
        found, base = [], sum(starts)
        for stream, start, count in zip(self._streams, starts, counts):
            numbers = np.arange(base, base + count)  # of all streams' draws
            clips = stream.order(np.arange(start, start + count))
            found.append(self._sampler(clips, numbers, step))
            base += count
        return found

    def _shuffle(self, drawn: Draws) -> Draws:
        """In random order, so that those that are left over are a fair draw."""
        key = hash_key(self.seed, "window")
        return drawn.take(np.argsort(mix(key + drawn.sample_id.astype(np.uint64))))

    def _cuts(
        self, offered: Sequence[Draws], target: float, shares: Sequence[float], **capacity: int
    ) -> list[int]:
        """How many draws of each stream fill its share of a window up to the target.

        Where text tokens or segments bind more than vision tokens, all streams give less.
        """
        capacity = self._capacity() | capacity
        room = {name: target * self.cfg.rows_per_window * size for name, size in capacity.items()}
        tokens = [share * room["row_tokens"] for share in shares]
        cuts = _cut(offered, tokens)
        text = sum(int(drawn.text[:cut].sum()) for drawn, cut in zip(offered, cuts))
        less = min(room["text_tokens"] / max(text, 1), room["max_segments"] / sum(cuts))
        return cuts if less >= 1 else _cut(offered, [less * budget for budget in tokens])

    def _fit(self, taken: Draws, **capacity: int) -> list[list[int]]:
        return fit_decreasing(
            taken.keep.tolist(),
            taken.text.tolist(),
            **self._capacity() | capacity,
            rows=self.cfg.rows_per_window,
        )

    def _capacity(self) -> dict[str, int]:
        names = ("row_tokens", "text_tokens", "max_segments")
        return {name: getattr(self.cfg, name) for name in names}

    def _order(self, taken: Draws, rows: list[list[int]], number: int) -> list[list[int]]:
        """Rows dealt out to the window's steps, like ones to different steps; each step balanced.

        Neighbouring rows of the packer are alike, and a batch should be a fair draw.
        """
        size, rng = self.cfg.batch_rows, np.random.default_rng([self.seed, number])
        costs = _sums(rows, np.square(taken.keep)).tolist()
        like = np.lexsort((costs, self._source_share(taken, rows)))
        dealt = rng.permuted(like.reshape(size, -1), axis=1).T  # steps x rows
        steps = ([row[i] for i in balanced_order([costs[r] for r in row])] for row in dealt)
        return [rows[i] for step in steps for i in step]

    def _source_share(self, taken: Draws, rows: list[list[int]]) -> np.ndarray:
        """How many of each row's tokens come from which source: the mean source's number."""
        starts = [part.start for part in self._parts]
        if len(starts) == 1:
            return np.zeros(len(rows))
        source = np.searchsorted(starts, taken.clip, side="right")
        return _sums(rows, source * taken.keep) / np.maximum(_sums(rows, taken.keep), 1)


class _Stream(NamedTuple):
    """Clips that are drawn in an order of their own, to a share of every window's tokens."""

    start: int  # rows of the catalog: the source's first,
    stop: int  # and the one after its last
    order: Order
    weight: float  # of the source, all adding up to 1
    kind: str  # "images", "videos", or "" for both

    def share(self, images: tuple[float, ...]) -> float:
        """Of the vision tokens, where `images` is the row of data.sampling.images that holds."""
        share = images[0] if images else 0.0
        return self.weight * {"images": share, "videos": 1 - share, "": 1.0}[self.kind]


class _Trial:
    """Windows made on trial: how full a stage's rows can be, and how many draws that takes."""

    def __init__(self, plan: Plan, step: int):
        self.plan, self.step = plan, step
        images = draws.at(plan.cfg.sampling, step).images
        self.shares = [stream.share(images) for stream in plan._streams]
        room = plan.cfg.row_tokens * plan.cfg.rows_per_window
        first = plan._draw([0] * len(self.shares), [4096] * len(self.shares), step)
        # Half as many again as the mean says: the size of a window's draws varies.
        means = [drawn.keep.mean() for drawn in first]
        self.counts = [
            int(1.5 * share * room / mean) + 16 if share else 0
            for share, mean in zip(self.shares, means)
        ]
        least, most = TRIAL_WINDOWS
        windows = int(np.clip(TRIAL_DRAWS // max(sum(self.counts), 1), least, most))
        self.windows = [
            plan._draw([count * i for count in self.counts], self.counts, step)
            for i in range(windows)
        ]

    def stage(self, window: int, offsets: tuple[int, ...]) -> Stage:
        """The stage with the fullest rows in which nearly all clips find a place."""
        target = self.target()
        cuts = [self.plan._cuts(drawn, target, self.shares) for drawn in self.windows]
        counts = np.max(cuts, 0)  # and a little more than any window on trial took
        counts = np.minimum(counts + np.rint(0.003 * counts).astype(int), self.counts)
        return Stage(window, self.step, target, tuple(self.shares), tuple(counts.tolist()), offsets)

    def target(self, **capacity: int) -> float:
        """The largest of TARGETS at which nearly all clips fit into rows."""
        fits = lambda target: self.placed(target, **capacity)[0] >= 1 - UNPLACED
        return TARGETS[bisect.bisect_left(TARGETS[:-1], True, key=fits)]

    def text_tokens(self) -> int:
        """The least text_tokens, in TEXT_UNIT, with which rows are about as full as with any."""

        @functools.cache
        def fill(units: int) -> float:
            capacity = {"text_tokens": units * TEXT_UNIT}
            return self.placed(self.target(**capacity), **capacity)[1]

        enough = fill(2**30) - TEXT_COST
        most = next(units for units in (2**n for n in itertools.count()) if fill(units) >= enough)
        units = range(most // 2 + 1, most + 1)
        return units[bisect.bisect_left(units, enough, key=fill)] * TEXT_UNIT

    def placed(self, target: float, **capacity: int) -> tuple[float, float]:
        """The share of the draws that find a place, and the share of the rows that they fill."""
        limit = capacity.get("text_tokens", self.plan.cfg.text_tokens)
        room = self.plan.cfg.row_tokens * self.plan.cfg.rows_per_window
        draws_taken = draws_placed = tokens = windows = 0
        for drawn in self.windows:
            cuts = self.plan._cuts(drawn, target, self.shares, **capacity)
            taken = draws.concatenate([d.take(slice(cut)) for d, cut in zip(drawn, cuts)])
            draws_taken += len(taken.clip)
            taken = taken.take(taken.text <= limit)
            used = [i for row in self.plan._fit(taken, **capacity) for i in row]
            draws_placed += len(used)
            tokens += taken.keep[used].sum()
            windows += 1
            if draws_taken >= TRIAL_CLIPS:
                break
        return draws_placed / draws_taken, tokens / (windows * room)


def _cut(offered: Sequence[Draws], budgets: Sequence[float]) -> list[int]:
    """How many draws each stream gives to a window: at least one if it is to give any.

    A stream that is alone takes no more than its budget; of several each comes as near to its own
    as it can, so that their shares hold whatever the sizes of their clips.
    """
    cuts = []
    for drawn, budget in zip(offered, budgets):
        sums = drawn.keep.cumsum()
        slack = drawn.keep / 2 if len(offered) > 1 else 0
        cut = int(np.searchsorted(sums - slack, budget, side="right"))
        cuts.append(max(cut, 1) if budget else 0)
    return cuts


def _sums(rows: list[list[int]], values: np.ndarray) -> np.ndarray:
    """The sum of the draws' values in each row."""
    lengths = np.array([len(row) for row in rows])
    used = np.fromiter(itertools.chain.from_iterable(rows), np.int64, lengths.sum())
    row = np.repeat(np.arange(len(rows)), lengths)
    return np.bincount(row, values[used], minlength=len(rows))


PLACED = ("clip", "sample_id", "caption", "task_id", *View._fields, "keep", "drop_static")


def _place(taken: Draws, rows: list[list[int]]) -> list[Row]:
    """The rows with what the loader needs to know of their clips."""
    used = np.fromiter(itertools.chain.from_iterable(rows), np.int64)
    columns = [getattr(taken, name)[used].tolist() for name in PLACED]
    # tuple.__new__, as Placed(...) does but without running Python code for each of many clips.
    views = map(functools.partial(tuple.__new__, View), zip(*columns[4:9]))
    placed = map(functools.partial(tuple.__new__, Placed), zip(*columns[:4], views, *columns[9:]))
    return [tuple(itertools.islice(placed, len(row))) for row in rows]
