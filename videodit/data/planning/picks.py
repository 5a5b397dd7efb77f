"""Picks: which clip, what of it is seen at which size, with which caption and in which mode.

Picks are numbered, and everything about a pick is a hash of (seed, number).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy.special import betaincinv

from videodit.config import ConfigError, DataConfig, Table, ViewConfig
from videodit.data import patches
from videodit.data.patches import Size
from videodit.data.planning.given import MODES
from videodit.data.planning.hashing import uniform
from videodit.data.sources.catalog import Catalog

CHUNK = 1_000_000  # clips looked at together

# chance(name) gives a number in [0, 1) for each pick: n float64, or one float64 for all.
Chance = Callable[[str], Any]


class Picks(NamedTuple):
    """n picks, column by column; every column has n int64."""

    clip: np.ndarray  # row of the catalog
    sample_id: np.ndarray  # number of the pick modulo 2**32
    caption: np.ndarray  # which of the clip's captions
    text_length: np.ndarray  # tokens of that caption
    mode_id: np.ndarray  # index into data/planning/given.py:MODES
    start: np.ndarray  # start, stride, frames, height, width: data/video/files.py:View
    stride: np.ndarray
    frames: np.ndarray
    height: np.ndarray
    width: np.ndarray
    tokens: np.ndarray  # vision tokens before any is dropped
    keep: np.ndarray  # vision tokens that stay
    drop_static: np.ndarray  # how many tokens are dropped because nothing changes there
    mirrored: np.ndarray  # 1: left and right are swapped; 0: as the clip is
    reversed: np.ndarray  # 1: played backwards

    def take(self, index: np.ndarray | slice) -> "Picks":
        """The picks that an index, a mask or a slice selects."""
        return Picks(*(column[index] for column in self))


def concatenate(parts: list[Picks]) -> Picks:
    """All picks of the first part, then those of the next."""
    return Picks(*map(np.concatenate, zip(*parts)))


class Picker:
    """Picks what of a clip is seen, by the schedules of `cfg.views`."""

    def __init__(self, catalog: Catalog, cfg: DataConfig, seed: int, patch: Size) -> None:
        """Raises ConfigError for a clip that no row can hold, and for bad weights of modes.

        With cfg.latents it also raises for a clip that may be cut or shrunk.
        """
        self.catalog, self.cfg, self.seed, self.patch = catalog, cfg, seed, patch
        self.captions = fitting_captions(catalog, cfg.text_tokens)
        self._mode_bounds = _mode_bounds(cfg)
        self._check_sizes()
        if cfg.latents:
            self._check_whole()

    def __call__(self, clips: np.ndarray, numbers: np.ndarray, step: int) -> Picks:
        """The picks with these numbers (n int64) of these clips (n int64), as seen at a step."""
        chance = lambda name: uniform(self.seed, numbers, name)
        view = self._view(clips, schedules_at(self.cfg.views, step), chance)
        captions, counts = self.captions, self.captions.count[clips]
        caption = captions.first[clips] + (chance("caption") * counts).astype(np.int64)
        return Picks(
            clip=clips,
            sample_id=numbers % 2**32,
            caption=captions.place(caption, clips),
            text_length=captions.tokens[caption].astype(np.int64),
            # The name "task" decides the draws: it stays.
            mode_id=np.searchsorted(self._mode_bounds, chance("task"), side="right"),
            **view,
        )

    def text_length(self, clip: int, caption: int) -> int:
        """The number of tokens of a clip's caption."""
        return self.catalog.caption_lengths[clip][caption]

    def held_out(self, clips: np.ndarray) -> Picks:
        """Clips (n int64) as an evaluation sees them: always the same, by the schedules' last rows.

        The caption is the first one that fits, nothing is given, no token is dropped, nothing is
        mirrored or reversed. The view begins at the first frame and takes the middle of what the
        schedules allow. The number of the pick is the clip's row.
        """
        schedules = schedules_at(self.cfg.views, np.inf)._replace(**AS_IT_IS)
        middle = {"start": 0.0, "rate": 0.0}
        view = self._view(clips, schedules, lambda name: np.full(len(clips), middle.get(name, 0.5)))
        first = self.captions.first[clips]
        return Picks(
            clip=clips,
            sample_id=clips,
            caption=self.captions.place(first, clips),
            text_length=self.captions.tokens[first].astype(np.int64),
            mode_id=np.zeros_like(clips),
            **view,
        )

    def _view(
        self, clips: np.ndarray, schedules: "Schedules", chance: Chance
    ) -> dict[str, np.ndarray]:
        """The columns of `Picks` from `start` on."""
        columns = (self.catalog.width, self.catalog.height, self.catalog.frames, self.catalog.fps)
        width, height, length, fps = (_wide(column[clips]) for column in columns)
        stride = self._stride(length, fps, schedules, chance)
        frames = 1 + (length - 1) // stride
        if schedules.sides:
            side = _between(schedules.sides, chance("side"))
            width, height = self._resize(width, height, side)
        _, rows, cols = patches.grid(1, height, width, self.patch)
        area = rows * cols
        if schedules.seconds:
            wanted = _between(schedules.seconds, chance("seconds")) * fps / stride
            frames = self._shorten(frames, wanted, area)
        start = chance("start") * (length - (frames - 1) * stride)
        tokens = patches.grid(frames, height, width, self.patch)[0] * area
        keep, static = self._dropped(clips, tokens, area, schedules, chance)
        happens = lambda name, share: (chance(name) < share).astype(np.int64)
        never = np.zeros_like(tokens)
        return dict(
            start=start.astype(np.int64),
            stride=stride,
            frames=frames,
            height=height,
            width=width,
            tokens=tokens,
            keep=np.maximum(keep, 1),
            drop_static=static,
            mirrored=happens("mirrored", *schedules.mirror) if schedules.mirror else never,
            reversed=happens("reversed", *schedules.reverse) if schedules.reverse else never,
        )

    @staticmethod
    def _stride(
        length: np.ndarray, fps: np.ndarray, schedules: "Schedules", chance: Chance
    ) -> np.ndarray:
        """Every how many frames one is seen, to come near one of the wanted frame rates."""
        if not schedules.rates:
            return np.ones_like(length)
        wanted = np.array(schedules.rates)[(chance("rate") * len(schedules.rates)).astype(int)]
        return np.where(length > 1, np.maximum(1, np.rint(fps / wanted)), 1).astype(np.int64)

    def _dropped(
        self,
        clips: np.ndarray,
        tokens: np.ndarray,
        area: np.ndarray,
        schedules: "Schedules",
        chance: Chance,
    ) -> tuple[np.ndarray, np.ndarray]:
        """How many tokens stay, and how many are dropped because nothing changes there."""
        static = np.zeros_like(tokens)
        if schedules.drop_static:
            share = np.nan_to_num(self.catalog.static[clips]) * schedules.drop_static[0]
            static = (share * (tokens - area)).astype(np.int64)
        keep = tokens - static
        if schedules.drop:
            most, a, b = schedules.drop
            keep -= np.rint(most * betaincinv(a, b, chance("drop")) * keep).astype(np.int64)
        return keep, static

    def _resize(
        self, width: np.ndarray, height: np.ndarray, side: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Sizes whose geometric mean is about `side`, in whole patches; small clips keep theirs."""
        scale = side / np.sqrt(width * height)
        shrink = lambda size, unit: np.where(
            (scale < 1) & (size >= unit),
            np.clip(np.rint(size * scale / unit), 1, size // unit) * unit,
            size,
        ).astype(np.int64)
        return shrink(width, self.patch[2]), shrink(height, self.patch[1])

    def _shorten(self, frames: np.ndarray, wanted: np.ndarray, area: np.ndarray) -> np.ndarray:
        """About the wanted number of frames in whole patches of time, at most what a row holds."""
        unit = self.patch[0]
        cells = np.minimum(np.rint(np.maximum(wanted - 1, 0) / unit), (frames - 1) // unit)
        cells = np.minimum(cells, self.cfg.row_tokens // area - 1).astype(np.int64)
        return 1 + unit * cells

    def _check_sizes(self) -> None:
        """Raises ConfigError naming the largest clip if at any step it does not fit into a row."""
        limit, catalog = self.cfg.row_tokens, self.catalog
        largest = {"side": 1.0, "seconds": 0.0, "rate": 0.0, "start": 0.0}
        for step in stages(self.cfg.views):
            schedules = schedules_at(self.cfg.views, step)._replace(**AS_IT_IS)
            if schedules.rates:
                schedules = schedules._replace(rates=(max(schedules.rates),))
            for clips in _chunks(len(catalog)):
                view = self._view(clips, schedules, lambda name: np.float64(largest[name]))
                if (view["tokens"] <= limit).all() and (view["frames"] > 0).all():
                    continue
                _, rows, cols = patches.grid(1, view["height"], view["width"], self.patch)
                tokens = np.maximum(view["tokens"], rows * cols)
                raise ConfigError(_too_long(catalog, clips, tokens, limit, self.patch))

    def _check_whole(self) -> None:
        """Raises ConfigError naming the first clip that some pick may cut, thin out or shrink."""
        catalog = self.catalog
        for step in stages(self.cfg.views):
            schedules = schedules_at(self.cfg.views, step)._replace(**AS_IT_IS)
            if schedules.rates:
                schedules = schedules._replace(rates=(min(schedules.rates),))
            for clips in _chunks(len(catalog)):
                view = self._view(clips, schedules, lambda name: np.float64(0))
                for name in ("frames", "height", "width"):
                    whole = view[name] == getattr(catalog, name)[clips]
                    if not whole.all():
                        i = int(clips[whole.argmin()])
                        raise ConfigError(_not_whole(catalog, i, self.cfg, name))


class Schedules(NamedTuple):
    """What the tables of data.views say at one step: a row without its step; () is no row."""

    sides: tuple[float, ...]
    seconds: tuple[float, ...]
    rates: tuple[float, ...]
    images: tuple[float, ...]
    drop: tuple[float, ...]
    drop_static: tuple[float, ...]
    mirror: tuple[float, ...]
    reverse: tuple[float, ...]


# All tokens of a clip, neither mirrored nor reversed, whatever the schedules say.
AS_IT_IS: dict[str, tuple[float, ...]] = dict.fromkeys(
    ("drop", "drop_static", "mirror", "reverse"), ()
)


def schedules_at(views: ViewConfig, step: float) -> Schedules:
    """The rows of the tables that hold at a step."""

    def value(table: Table) -> tuple[float, ...]:
        rows = [row for row in table if row[0] <= step]
        return rows[-1][1:] if rows else ()

    return Schedules(*(value(getattr(views, name)) for name in Schedules._fields))


def stages(views: ViewConfig) -> list[int]:
    """The steps at which a schedule changes, and 0, in order."""
    tables = (getattr(views, name) for name in Schedules._fields)
    return sorted({0, *(int(row[0]) for table in tables for row in table)})


@dataclass(frozen=True)
class Captions:
    """The captions that fit into a row; those of a clip lie side by side."""

    first: np.ndarray  # for each clip, where its captions begin in the arrays below
    count: np.ndarray  # for each clip, how many captions it has
    tokens: np.ndarray  # for each caption, how many tokens it has
    numbers: np.ndarray | None  # for each caption, its place among the clip's; None: all fit

    def place(self, captions: np.ndarray, clips: np.ndarray) -> np.ndarray:
        """The place of each caption among all captions of its clip: n int64."""
        return captions - self.first[clips] if self.numbers is None else self.numbers[captions]


def fitting_captions(catalog: Catalog, limit: int) -> Captions:
    """The captions of at most `limit` tokens (0: any). Raises ConfigError if a clip has none."""
    offsets, tokens = catalog.caption_lengths.offsets, catalog.caption_lengths.values
    counts = np.diff(offsets)
    if not limit or tokens.max(initial=0) <= limit:
        return Captions(offsets[:-1], counts, tokens, None)
    fits = tokens <= limit
    kept = np.diff(np.pad(fits.cumsum(), (1, 0))[offsets])
    if not kept.all():
        i, more = int(kept.argmin()), int((kept == 0).sum()) - 1
        raise ConfigError(
            f"data.text_tokens={limit}: clip {catalog.ids[i]} has no caption that fits, its "
            f"captions have {list(catalog.caption_lengths[i])} tokens; {more} other clips have no "
            "caption that fits either"
        )
    numbers = (np.arange(len(tokens)) - np.repeat(offsets[:-1], counts))[fits]
    return Captions(kept.cumsum() - kept, kept, tokens[fits], numbers)


def _between(bounds: tuple[float, ...], chance: np.ndarray) -> np.ndarray:
    least, most = bounds
    return least + chance * (most - least)


def _wide(column: np.ndarray) -> np.ndarray:
    return column.astype(np.int64 if column.dtype.kind == "i" else np.float64)


def _chunks(count: int) -> Iterator[np.ndarray]:
    for start in range(0, count, CHUNK):
        yield np.arange(start, min(start + CHUNK, count))


def _too_long(
    catalog: Catalog, clips: np.ndarray, tokens: np.ndarray, limit: int, patch: Size
) -> str:
    i, more = int(clips[tokens.argmax()]), int((tokens > limit).sum()) - 1
    size = f"{catalog.width[i]}x{catalog.height[i]}, {catalog.frames[i]} frames"
    return (
        f"data.row_tokens={limit}: clip {catalog.ids[i]} ({size}) has {tokens.max()} tokens in "
        f"patches of {patch}; {more} other clips are too long; data.views.seconds takes parts "
        "of long clips, data.views.sides makes large ones smaller"
    )


def _not_whole(catalog: Catalog, i: int, cfg: DataConfig, name: str) -> str:
    table = "sides" if name != "frames" else "rates" if cfg.views.rates else "seconds"
    return (
        f"data.views.{table}={getattr(cfg.views, table)}: clip {catalog.ids[i]} "
        f"({catalog.width[i]}x{catalog.height[i]}, {catalog.frames[i]} frames) may not be seen "
        "whole; data.latents holds latents of whole clips at their own size: leave the table empty"
    )


def _mode_bounds(cfg: DataConfig) -> np.ndarray:
    weights = np.array([getattr(cfg.modes, name) for name in MODES])
    if (weights < 0).any() or not weights.sum() > 0:
        raise ConfigError(f"data.modes={cfg.modes}: expected weights of 0 or more, not all 0")
    return (weights / weights.sum()).cumsum()[:-1]
