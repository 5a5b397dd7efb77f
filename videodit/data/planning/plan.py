"""The packing plan: which clips lie in which row at which step, from the catalog alone.

Clips are picked in an endless shuffled order (data/planning/streams.py). The order is cut into
groups of a fixed number of picks, and each group is packed on its own into exactly `rows_per_group`
rows. So a step finds its rows by division, and the only state is the step. A group takes its picks
in random order until they would fill more than a share of its rows (`Stage.target`, found by trial
when the plan is made). The few picks that are left over, and those that fit into no row, wait for
the next epoch.

Every source of a mixture has an order of its own and a fixed share of a group's tokens; so have
images, if data.views.images sets their share. The schedules of data.views change between groups.
"""

import dataclasses
import functools
import hashlib
import itertools
import logging
import threading
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from videodit.config import ConfigError, DataConfig
from videodit.data.patches import Size
from videodit.data.planning.balance import balanced_order, imbalance
from videodit.data.planning.fitting import fit_decreasing
from videodit.data.planning.groups import Groups, Stage, choose_text_tokens, make_stages, take
from videodit.data.planning.hashing import hash_key, mix, uniform
from videodit.data.planning.picks import Picker, Picks
from videodit.data.planning.streams import make_streams
from videodit.data.sources.catalog import Catalog, Part
from videodit.data.video.files import View

# The fields of DataConfig that rows depend on.
PLANNED = (
    *("row_tokens", "text_tokens", "max_segments", "batch_rows", "rows_per_group"),
    *("modes", "views"),
)
# The digest of a plan keeps the class names of the version that first wrote it.
DIGEST_NAMES = {"ModeWeights(": "TaskWeights(", "ViewConfig(": "SamplingConfig("}
CACHED = 8  # groups and steps, because the loader is ahead of the step whose metrics are read
UNEVALUATED = (
    "no clip is held out, so nothing will be evaluated; clips are held out by data.val_fraction in "
    "a folder of videos, and by tools.curate --val_fraction in a dataset"
)
SPARES = 256  # random clips among which the replacement of a broken one is looked for

logger = logging.getLogger(__name__)


class Placed(NamedTuple):
    """One clip of a row. The tuple is flat, because there are many of them."""

    clip: int  # row of the catalog
    sample_id: int  # number of the pick in the endless stream of clips, modulo 2**32
    caption: int  # which of the clip's captions
    mode_id: int  # index into data/planning/given.py:MODES
    start: int  # start, stride, frames, height, width: what of the clip is seen, at which size
    stride: int
    frames: int
    height: int
    width: int
    keep: int  # vision tokens that stay
    drop_static: int  # tokens that are dropped because they repeat the previous frame
    mirrored: int = 0  # 1: left and right are swapped
    reversed: int = 0  # 1: played backwards

    @property
    def view(self) -> View:
        """What of the clip is seen, at which size."""
        return View(self.start, self.stride, self.frames, self.height, self.width)


Row = tuple[Placed, ...]


class Group(NamedTuple):
    """A packed group."""

    picks: Picks  # the picks that were taken
    rows: list[list[int]]  # indices into the picks, in the order of training
    offered: int  # picks of the group, including those that were not taken


class Plan:
    """Rows of clips for every step: a pure function of (catalog, config, seed, step).

    `cfg` is the config with text_tokens chosen; `parts` are the sources of a mixture; `stages` are
    the stretches without a change of schedule.
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
    ) -> None:
        """Tries how full the first groups can be made; no frame is read.

        `parts` are the sources of a mixture, `chunk` is the autoencoder's, in latent frames. Raises
        ConfigError if a part has no training clip, if a clip has more tokens than a row holds or no
        caption that fits into a row, for a bad seed or bad weights of modes, and if data.latents is
        set and some clip may be cut or shrunk.
        """
        if seed < 0:
            raise ConfigError(f"seed={seed}: expected 0 or more")
        self.catalog, self.cfg, self.seed, self.patch = catalog, cfg, seed, patch
        self.chunk = chunk
        self.parts = tuple(parts) or (Part(0, len(catalog), 1.0),)
        images_apart = any(share for _, share in cfg.views.images)
        streams = make_streams(catalog, self.parts, seed, images_apart=images_apart)
        groups = Groups(tuple(streams), Picker(catalog, cfg, seed, patch), cfg)
        if not cfg.text_tokens:
            self.cfg = dataclasses.replace(cfg, text_tokens=choose_text_tokens(groups))
        self._groups = dataclasses.replace(groups, cfg=self.cfg)
        self.stages = make_stages(self._groups)
        self._group = functools.lru_cache(maxsize=CACHED)(self._pack_group)
        self._step = functools.lru_cache(maxsize=CACHED)(self._place_step)
        self._validation = functools.cache(self._pack_validation)
        self._lock = threading.Lock()  # or several threads would pack the same group

    def rows(self, step: int) -> list[Row]:
        """The batch_rows rows of a step, ordered so that hosts get equal shares of the work."""
        return self._step(step)

    def validation_rows(self) -> list[list[Row]]:
        """Batches of rows, as cfg.evaluation has them, that hold every "val" clip once, always in
        the same order.

        The packer puts similar rows next to each other, so rows are shuffled: the first batches
        then stand for all of them. Clips are seen as `Picker.held_out` says, in the mode
        `generate`. Empty rows complete the last batch.
        """
        return self._validation()

    def say_if_never_evaluated(self) -> None:
        """Logs how to hold clips out, if none is."""
        if not (np.asarray(self.catalog.split) == "val").any():
            logger.warning("%s", UNEVALUATED)

    def spare(self, placed: Placed, step: int, row: int, slot: int) -> Placed | None:
        """What replaces a clip that cannot be read, or None if no clip is small enough.

        The spare is the longest of SPARES random clips that has no more vision and text tokens. It
        comes from the same source; where images have a share of their own, an image replaces an
        image. It is a function of the seed, the step, and the row and slot in the global batch.
        """
        kinds = ("", "images" if self.catalog.frames[placed.clip] == 1 else "videos")
        picker, streams = self._groups.picker, self._groups.streams
        own = (s for s in streams if s.start <= placed.clip < s.stop)
        order = next(stream.order for stream in own if stream.kind in kinds)
        stage = self._stage(step * self.cfg.batch_rows // self.cfg.rows_per_group)
        key = hash_key(self.seed, "spare", str(step), str(row), str(slot))
        numbers = (mix(key + np.arange(SPARES, dtype=np.uint64)) >> np.uint64(2)).astype(np.int64)
        picked = picker(order(numbers), numbers, stage.step)
        text = picker.text_length(placed.clip, placed.caption)
        fits = (
            (picked.keep <= placed.keep)
            & (picked.text_length <= text)
            & (picked.clip != placed.clip)
        )
        if not fits.any():
            return None
        picked = picked.take(fits)
        return place_rows(picked, [[int(picked.keep.argmax())]])[0][0]._replace(
            sample_id=placed.sample_id, mode_id=placed.mode_id
        )

    def metrics(self, step: int, shares: int = 1) -> dict[str, float]:
        """Figures of a step, by name.

        imbalance: attention work of the heaviest of `shares` equal parts of the batch over the
        mean part's. tokens_dropped: share of the clips' vision tokens. left_over: share of the
        group's picks that wait for the next epoch.
        """
        group, rows = self._rows(step)
        used = [i for row in rows for i in row]
        costs = _sums(rows, np.square(group.picks.keep)).tolist()
        kept, whole = group.picks.keep[used].sum(), group.picks.tokens[used].sum()
        placed = sum(map(len, group.rows))
        return {
            "imbalance": imbalance(costs, shares),
            "tokens_dropped": float(1 - kept / whole) if used else 0.0,
            "left_over": 1 - placed / group.offered,
        }

    def lengths(self, step: int) -> list[tuple[int, int, int]]:
        """For each clip of a step: vision tokens that stay, vision tokens in all, text tokens."""
        group, rows = self._rows(step)
        used = np.array([i for row in rows for i in row], np.int64)
        columns = (group.picks.keep, group.picks.tokens, group.picks.text_length)
        return list(zip(*(column[used].tolist() for column in columns)))

    def digest(self) -> str:
        """A hash of everything that rows depend on: equal digests mean equal rows at every step."""
        cfg = [getattr(self.cfg, name) for name in PLANNED]
        text = repr((cfg, self.seed, self.patch, self.parts))
        for new, old in DIGEST_NAMES.items():
            text = text.replace(new, old)
        hashed = hashlib.blake2b(text.encode())
        catalog = self.catalog
        texts = (catalog.caption_lengths.offsets, catalog.caption_lengths.values)
        sizes = (catalog.width, catalog.height, catalog.frames, catalog.fps, catalog.static)
        for column in (*sizes, *texts, np.asarray(catalog.split) == "train"):
            hashed.update(np.ascontiguousarray(column).data)
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
            group = self._group(number)
        return group, group.rows[first : first + self.cfg.batch_rows]

    def _place_step(self, step: int) -> list[Row]:
        group, rows = self._rows(step)
        return place_rows(group.picks, rows)

    def _stage(self, group: int) -> Stage:
        return next(stage for stage in reversed(self.stages) if stage.group <= group)

    def _pack_group(self, number: int) -> Group:
        stage = self._stage(number)
        picked = self._groups.pick(stage.starts(number), stage.counts, stage.step)
        offered = list(map(self._shuffle, picked))
        chance = [uniform(self.seed, np.array([number]), f"cut {i}")[0] for i in range(len(picked))]
        cuts = self._groups.cuts(offered, stage.target, stage.shares, chance)
        taken = take(offered, cuts)
        rows = self._order(taken, self._groups.fit(taken), number)
        return Group(taken, rows, sum(stage.counts))

    def _shuffle(self, picked: Picks) -> Picks:
        """The picks in random order, so that those left over are a fair sample."""
        key = hash_key(self.seed, "window")  # the name decides the order: it stays
        return picked.take(np.argsort(mix(key + picked.sample_id.astype(np.uint64))))

    def _pack_validation(self) -> list[list[Row]]:
        clips = np.flatnonzero(np.asarray(self.catalog.split) == "val")
        cfg = self.cfg.evaluation
        held_out = self._groups.picker.held_out(clips)
        packed = fit_decreasing(
            held_out.keep.tolist(),
            held_out.text_length.tolist(),
            row_tokens=cfg.row_tokens,
            text_tokens=cfg.text_tokens,
            max_segments=cfg.max_segments,
        )
        order = np.random.default_rng(0).permutation(len(packed))
        rows = place_rows(held_out, [packed[row] for row in order])
        size = cfg.batch_rows
        rows += [()] * (-len(rows) % size)
        return [rows[start : start + size] for start in range(0, len(rows), size)]

    def _order(self, taken: Picks, rows: list[list[int]], number: int) -> list[list[int]]:
        """Rows dealt out to the group's steps, similar ones to different steps; each step balanced.

        The packer's neighbouring rows are similar, and a batch should be a fair sample of all rows.
        """
        size, rng = self.cfg.batch_rows, np.random.default_rng([self.seed, number])
        costs = _sums(rows, np.square(taken.keep)).tolist()
        like = np.lexsort((costs, self._source_share(taken, rows)))
        dealt = rng.permuted(like.reshape(size, -1), axis=1).T  # steps x rows
        steps = ([row[i] for i in balanced_order([costs[r] for r in row])] for row in dealt)
        return [rows[i] for step in steps for i in step]

    def _source_share(self, taken: Picks, rows: list[list[int]]) -> np.ndarray:
        """For each row, the mean number of the sources that its tokens come from."""
        starts = [part.start for part in self.parts]
        if len(starts) == 1:
            return np.zeros(len(rows))
        source = np.searchsorted(starts, taken.clip, side="right")
        return _sums(rows, source * taken.keep) / np.maximum(_sums(rows, taken.keep), 1)


def _sums(rows: list[list[int]], values: np.ndarray) -> np.ndarray:
    """The sum, in each row, of the values that its picks have."""
    lengths = np.array([len(row) for row in rows])
    used = np.fromiter(itertools.chain.from_iterable(rows), np.int64, lengths.sum())
    row = np.repeat(np.arange(len(rows)), lengths)
    return np.bincount(row, values[used], minlength=len(rows))


def place_rows(taken: Picks, rows: list[list[int]]) -> list[Row]:
    """The rows, with what the loader needs to know about their clips."""
    used = np.fromiter(itertools.chain.from_iterable(rows), np.int64)
    columns = [getattr(taken, name)[used].tolist() for name in Placed._fields]
    # tuple.__new__, as Placed(...) does but without running Python code for each of many clips.
    placed = map(functools.partial(tuple.__new__, Placed), zip(*columns))
    return [tuple(itertools.islice(placed, len(row))) for row in rows]
