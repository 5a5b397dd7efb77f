"""The packing plan: which clips lie in which row at which step, from the catalog alone.

The clips are drawn in an endless shuffled order (data/planning/streams.py). It is cut into groups
of a fixed number of draws, each of which is packed on its own into exactly `rows_per_group` rows,
so that a step finds its rows by division and the only state is the step. A group packs its draws
in random order until they would fill more than a share of it (`Stage.target`, tried at
construction).
The few that are left over wait for the next epoch, as does what fits into no row.

Every source of a mixture has an order of its own and a fixed share of a group's tokens; so have
images, if their share is set. The schedules of data.views change between groups.
"""

import dataclasses
import functools
import hashlib
import itertools
import threading
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from videodit.config import ConfigError, DataConfig
from videodit.data.patches import Size
from videodit.data.planning.balance import balanced_order, imbalance
from videodit.data.planning.draws import Draws, Sampler
from videodit.data.planning.fitting import fit_decreasing
from videodit.data.planning.groups import Groups, Stage, choose_text_tokens, make_stages, take
from videodit.data.planning.hashing import hash_key, mix, uniform
from videodit.data.planning.streams import make_streams
from videodit.data.sources.catalog import Catalog, Part
from videodit.data.video.files import View

# Fields of DataConfig that rows follow from.
PLANNED = (
    *("row_tokens", "text_tokens", "max_segments", "batch_rows", "rows_per_group"),
    *("modes", "views"),
)
# The digest of a plan keeps the class names of the version that first wrote it.
DIGEST_NAMES = {"ModeWeights(": "TaskWeights(", "ViewConfig(": "SamplingConfig("}
CACHED = 8  # groups and steps: the loader is ahead of the step whose metrics are read
SPARES = 256  # clips among which one is looked for that fits into the place of a broken one


class Placed(NamedTuple):
    """One clip of a row: a flat tuple, as there are many."""

    clip: int  # row of the catalog
    sample_id: int  # which draw of the endless stream of clips, modulo 2**32
    caption: int  # which of the clip's captions
    mode_id: int  # index into data/planning/given.py:MODES
    start: int  # start, stride, frames, height, width: what of the clip is seen, at which size
    stride: int
    frames: int
    height: int
    width: int
    keep: int  # vision tokens that stay
    drop_static: int  # of the dropped ones, those that go because they repeat the previous frame
    mirrored: int = 0  # 1: flipped, left for right
    reversed: int = 0  # 1: played backwards

    @property
    def view(self) -> View:
        """What of the clip is seen, at which size."""
        return View(self.start, self.stride, self.frames, self.height, self.width)


Row = tuple[Placed, ...]


class Group(NamedTuple):
    """A packed group."""

    draws: Draws  # those taken, of n
    rows: list[list[int]]  # of indices into the draws, in the order of training
    offered: int  # draws of the group, with those that were not taken


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
        *,
        chunk: int = 1,
    ):
        """Tries how full the first groups can be made; no frame is read.

        `parts`: the sources of a mixture. `chunk`: the autoencoder's, in latent frames. Raises
        ConfigError if a part has no clip for training, if a clip has more tokens than a row or no
        caption that fits into one, for a bad seed or bad weights of tasks, and if latents are
        stored of clips that are not always seen whole.
        """
        if seed < 0:
            raise ConfigError(f"seed={seed}: expected 0 or more")
        self.catalog, self.cfg, self.seed, self.patch = catalog, cfg, seed, patch
        self.chunk = chunk
        self._parts = tuple(parts) or (Part(0, len(catalog), 1.0),)
        images_apart = any(share for _, share in cfg.views.images)
        streams = make_streams(catalog, self._parts, seed, images_apart=images_apart)
        groups = Groups(tuple(streams), Sampler(catalog, cfg, seed, patch), cfg)
        if not cfg.text_tokens:
            self.cfg = dataclasses.replace(cfg, text_tokens=choose_text_tokens(groups))
        self._windows = dataclasses.replace(groups, cfg=self.cfg)
        self.stages = make_stages(self._windows)
        self._window = functools.lru_cache(maxsize=CACHED)(self._pack_window)
        self._step = functools.lru_cache(maxsize=CACHED)(self._place_step)
        self._validation = functools.cache(self._pack_validation)
        self._lock = threading.Lock()  # or several threads would pack the same group

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

        `row` and `slot` say where in the global batch of the step, and all is a function of them
        and of the seed. It comes from the same source (an image for an image, where images are
        drawn apart) and has no more vision and text tokens: the longest of SPARES random clips that
        fits.
        """
        kinds = ("", "images" if self.catalog.frames[placed.clip] == 1 else "videos")
        sampler, streams = self._windows.sampler, self._windows.streams
        streams = (s for s in streams if s.start <= placed.clip < s.stop)
        order = next(stream.order for stream in streams if stream.kind in kinds)
        stage = self._stage(step * self.cfg.batch_rows // self.cfg.rows_per_group)
        key = hash_key(self.seed, "spare", str(step), str(row), str(slot))
        numbers = (mix(key + np.arange(SPARES, dtype=np.uint64)) >> np.uint64(2)).astype(np.int64)
        drawn = sampler(order(numbers), numbers, stage.step)
        text = sampler.text_of(placed.clip, placed.caption)
        fits = (drawn.keep <= placed.keep) & (drawn.text <= text) & (drawn.clip != placed.clip)
        if not fits.any():
            return None
        drawn = drawn.take(fits)
        return place_rows(drawn, [[int(drawn.keep.argmax())]])[0][0]._replace(
            sample_id=placed.sample_id, mode_id=placed.mode_id
        )

    def metrics(self, step: int, shares: int = 1) -> dict[str, float]:
        """What the plan says of a step.

        imbalance: attention work of the heaviest of `shares` equal parts of the batch over the
        mean; tokens_dropped: share of the clips' vision tokens; left_over: share of the group's
        draws that wait for the next epoch.
        """
        group, rows = self._rows(step)
        used = [i for row in rows for i in row]
        costs = _sums(rows, np.square(group.draws.keep)).tolist()
        kept, whole = group.draws.keep[used].sum(), group.draws.tokens[used].sum()
        placed = sum(map(len, group.rows))
        return {
            "imbalance": imbalance(costs, shares),
            "tokens_dropped": float(1 - kept / whole) if used else 0.0,
            "left_over": 1 - placed / group.offered,
        }

    def lengths(self, step: int) -> list[tuple[int, int, int]]:
        """Of every clip of a step: vision tokens that stay, those before dropping, text tokens."""
        group, rows = self._rows(step)
        used = np.array([i for row in rows for i in row], np.int64)
        columns = (group.draws.keep, group.draws.tokens, group.draws.text)
        return list(zip(*(column[used].tolist() for column in columns)))

    def digest(self) -> str:
        """A hash of all that the rows follow from: equal digests, equal rows at every step."""
        cfg = [getattr(self.cfg, name) for name in PLANNED]
        text = repr((cfg, self.seed, self.patch, self._parts))
        for new, old in DIGEST_NAMES.items():
            text = text.replace(new, old)
        hashed = hashlib.blake2b(text.encode())
        catalog = self.catalog
        texts = (catalog.text_tokens.offsets, catalog.text_tokens.values)
        sizes = (catalog.width, catalog.height, catalog.frames, catalog.fps, catalog.static)
        for column in (*sizes, *texts, np.asarray(catalog.split) == "train"):
            hashed.update(np.ascontiguousarray(column))
        return hashed.hexdigest()[:16]

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

    # Groups.

    def _rows(self, step: int) -> tuple[Group, list[list[int]]]:
        number, first = divmod(step * self.cfg.batch_rows, self.cfg.rows_per_group)
        with self._lock:
            group = self._window(number)
        return group, group.rows[first : first + self.cfg.batch_rows]

    def _place_step(self, step: int) -> list[Row]:
        group, rows = self._rows(step)
        return place_rows(group.draws, rows)

    def _stage(self, group: int) -> Stage:
        return next(stage for stage in reversed(self.stages) if stage.group <= group)

    def _pack_window(self, number: int) -> Group:
        stage = self._stage(number)
        drawn = self._windows.draw(stage.starts(number), stage.counts, stage.step)
        offered = list(map(self._shuffle, drawn))
        chance = [uniform(self.seed, np.array([number]), f"cut {i}")[0] for i in range(len(drawn))]
        cuts = self._windows.cuts(offered, stage.target, stage.shares, chance)
        taken = take(offered, cuts)
        rows = self._order(taken, self._windows.fit(taken), number)
        return Group(taken, rows, sum(stage.counts))

    def _shuffle(self, drawn: Draws) -> Draws:
        """In random order, so that those that are left over are a fair draw."""
        key = hash_key(self.seed, "window")  # the name decides the order: it stays
        return drawn.take(np.argsort(mix(key + drawn.sample_id.astype(np.uint64))))

    def _pack_validation(self) -> list[list[Row]]:
        clips = np.flatnonzero(np.asarray(self.catalog.split) == "val")
        held_out = self._windows.sampler.held_out(clips)
        lengths = held_out.keep.tolist(), held_out.text.tolist()
        packed = fit_decreasing(*lengths, **self._windows.capacity())
        order = np.random.default_rng(0).permutation(len(packed))
        rows = place_rows(held_out, [packed[row] for row in order])
        size = self.cfg.batch_rows
        rows += [()] * (-len(rows) % size)
        return [rows[start : start + size] for start in range(0, len(rows), size)]

    def _order(self, taken: Draws, rows: list[list[int]], number: int) -> list[list[int]]:
        """Rows dealt out to the group's steps, like ones to different steps; each step balanced.

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


def _sums(rows: list[list[int]], values: np.ndarray) -> np.ndarray:
    """The sum of the draws' values in each row."""
    lengths = np.array([len(row) for row in rows])
    used = np.fromiter(itertools.chain.from_iterable(rows), np.int64, lengths.sum())
    row = np.repeat(np.arange(len(rows)), lengths)
    return np.bincount(row, values[used], minlength=len(rows))


def place_rows(taken: Draws, rows: list[list[int]]) -> list[Row]:
    """The rows with what the loader needs to know of their clips."""
    used = np.fromiter(itertools.chain.from_iterable(rows), np.int64)
    columns = [getattr(taken, name)[used].tolist() for name in Placed._fields]
    # tuple.__new__, as Placed(...) does but without running Python code for each of many clips.
    placed = map(functools.partial(tuple.__new__, Placed), zip(*columns))
    return [tuple(itertools.islice(placed, len(row))) for row in rows]
