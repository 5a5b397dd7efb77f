"""What is drawn of a clip: what of it is seen, at which size, with which caption, for which task.

Draws are numbered, and everything of a draw is a hash of (seed, number).
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from scipy.special import betaincinv

from videodit.config import ConfigError, DataConfig, Table, ViewConfig
from videodit.data import patches
from videodit.data.patches import Size
from videodit.data.planning.given import MODES
from videodit.data.planning.hashing import uniform
from videodit.data.sources.catalog import Catalog

CHUNK = 1_000_000  # clips looked at together


class Draws(NamedTuple):
    """n draws, column by column; every column has n int64."""

    clip: np.ndarray  # row of the catalog
    sample_id: np.ndarray  # number of the draw modulo 2**32
    caption: np.ndarray  # which of the clip's captions
    text: np.ndarray  # tokens of that caption
    mode_id: np.ndarray  # index into data/planning/given.py:MODES
    start: np.ndarray  # start, stride, frames, height, width: data/video/files.py:View
    stride: np.ndarray
    frames: np.ndarray
    height: np.ndarray
    width: np.ndarray
    tokens: np.ndarray  # vision tokens before any is dropped
    keep: np.ndarray  # vision tokens that stay
    drop_static: np.ndarray  # of the dropped ones, those that go because nothing changes there
    mirrored: np.ndarray  # 1: flipped, left for right; 0: as it is
    reversed: np.ndarray  # 1: played backwards

    def take(self, index: np.ndarray) -> "Draws":
        """The draws of an index or a mask."""
        return Draws(*(column[index] for column in self))


def concatenate(parts: list[Draws]) -> Draws:
    """One after the other."""
    return Draws(*map(np.concatenate, zip(*parts)))


class Sampler:
    """Draws what of a clip is seen, by the schedules of `cfg.views`."""

    def __init__(self, catalog: Catalog, cfg: DataConfig, seed: int, patch: Size):
        """Raises ConfigError for a clip that no row can hold, and for bad weights of tasks.

        With cfg.latents also for a clip of which only a part may be seen, or that may be shrunk.
        """
        self.catalog, self.cfg, self.seed, self.patch = catalog, cfg, seed, patch
        self.captions = fitting_captions(catalog, cfg.text_tokens)
        self._mode_bounds = _mode_bounds(cfg)
        self._check_sizes()
        if cfg.latents:
            self._check_whole()

    def __call__(self, clips: np.ndarray, numbers: np.ndarray, step: int) -> Draws:
        """The draws of these numbers (n int64) of these clips (n int64), as seen at a step."""
        chance = lambda name: uniform(self.seed, numbers, name)
        view = self._view(clips, at(self.cfg.views, step), chance)
        captions, counts = self.captions, self.captions.count[clips]
        caption = captions.first[clips] + (chance("caption") * counts).astype(np.int64)
        return Draws(
            clip=clips,
            sample_id=numbers % 2**32,
            caption=captions.index(caption, clips),
            text=captions.tokens[caption].astype(np.int64),
            mode_id=np.searchsorted(self._mode_bounds, chance("task"), side="right"),
            **view,
        )

    def text_of(self, clip: int, caption: int) -> int:
        """The tokens of a clip's caption."""
        return self.catalog.text_tokens[clip][caption]

    def held_out(self, clips: np.ndarray) -> Draws:
        """Clips as an evaluation sees them, always the same: the last rows of the schedules.

        First caption that fits, nothing given, from the first frame on, the middle of what could
        be drawn, no token dropped, not mirrored or reversed; the number of the draw is the clip's.
        """
        views = at(self.cfg.views, np.inf)._replace(**AS_IT_IS)
        middle = {"start": 0.0, "rate": 0.0}
        view = self._view(clips, views, lambda name: np.full(len(clips), middle.get(name, 0.5)))
        first = self.captions.first[clips]
        return Draws(
            clip=clips,
            sample_id=clips,
            caption=self.captions.index(first, clips),
            text=self.captions.tokens[first].astype(np.int64),
            mode_id=np.zeros_like(clips),
            **view,
        )

    def _view(self, clips: np.ndarray, views: "Now", chance) -> dict[str, np.ndarray]:
        """The columns of `Draws` from `start` on; `chance(name)` gives n float64 in [0, 1)."""
        columns = ("width", "height", "frames", "fps")
        width, height, length, fps = (_wide(getattr(self.catalog, c)[clips]) for c in columns)
        stride = np.ones_like(length)
        if views.rates:
            wanted = np.array(views.rates)[(chance("rate") * len(views.rates)).astype(int)]
            stride = np.where(length > 1, np.maximum(1, np.rint(fps / wanted)), 1).astype(np.int64)
        frames = 1 + (length - 1) // stride
        if views.sides:
            width, height = self._resize(width, height, _between(views.sides, chance("side")))
        _, rows, columns = patches.grid(1, height, width, self.patch)
        area = rows * columns
        if views.seconds:
            wanted = _between(views.seconds, chance("seconds")) * fps / stride
            frames = self._shorten(frames, wanted, area)
        start = chance("start") * (length - (frames - 1) * stride)
        tokens = patches.grid(frames, height, width, self.patch)[0] * area
        static = np.zeros_like(tokens)
        if views.drop_static:
            share = np.nan_to_num(self.catalog.static[clips]) * views.drop_static[0]
            static = (share * (tokens - area)).astype(np.int64)
        keep = tokens - static
        if views.drop:
            most, a, b = views.drop
            keep -= np.rint(most * betaincinv(a, b, chance("drop")) * keep).astype(np.int64)
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
            mirrored=happens("mirrored", *views.mirror) if views.mirror else never,
            reversed=happens("reversed", *views.reverse) if views.reverse else never,
        )

    def _resize(self, width, height, side) -> tuple[np.ndarray, np.ndarray]:
        """Sizes with about this geometric mean in whole patches; small clips keep their own."""
        scale = side / np.sqrt(width * height)
        shrink = lambda size, unit: np.where(
            (scale < 1) & (size >= unit),
            np.clip(np.rint(size * scale / unit), 1, size // unit) * unit,
            size,
        ).astype(np.int64)
        return shrink(width, self.patch[2]), shrink(height, self.patch[1])

    def _shorten(self, frames, wanted, area) -> np.ndarray:
        """About the wanted frames, as many as a row holds, in whole patches of time."""
        unit = self.patch[0]
        cells = np.minimum(np.rint(np.maximum(wanted - 1, 0) / unit), (frames - 1) // unit)
        cells = np.minimum(cells, self.cfg.row_tokens // area - 1).astype(np.int64)
        return 1 + unit * cells

    def _check_sizes(self) -> None:
        """Raises ConfigError naming the largest clip if it does not fit into a row at any time."""
        limit, catalog = self.cfg.row_tokens, self.catalog
        largest = {"side": 1.0, "seconds": 0.0, "rate": 0.0, "start": 0.0}
        for step in stages(self.cfg.views):
            views = at(self.cfg.views, step)._replace(**AS_IT_IS)
            if views.rates:
                views = views._replace(rates=(max(views.rates),))
            for clips in _chunks(len(catalog)):
                view = self._view(clips, views, lambda name: np.float64(largest[name]))
                if (view["tokens"] <= limit).all() and (view["frames"] > 0).all():
                    continue
                tokens = patches.grid(1, view["height"], view["width"], self.patch)
                tokens = np.maximum(view["tokens"], tokens[1] * tokens[2])
                raise ConfigError(_too_long(catalog, clips, tokens, limit, self.patch))

    def _check_whole(self) -> None:
        """Raises ConfigError naming the first clip that is not seen whole at the least draws."""
        catalog = self.catalog
        for step in stages(self.cfg.views):
            views = at(self.cfg.views, step)._replace(**AS_IT_IS)
            if views.rates:
                views = views._replace(rates=(min(views.rates),))
            for clips in _chunks(len(catalog)):
                view = self._view(clips, views, lambda name: np.float64(0))
                for name in ("frames", "height", "width"):
                    whole = view[name] == getattr(catalog, name)[clips]
                    if not whole.all():
                        raise ConfigError(
                            _not_whole(catalog, clips[whole.argmin()], self.cfg, name)
                        )


class Now(NamedTuple):
    """What the schedules say at a step: the values of a row without its step; () is no row."""

    sides: tuple[float, ...]
    seconds: tuple[float, ...]
    rates: tuple[float, ...]
    images: tuple[float, ...]
    drop: tuple[float, ...]
    drop_static: tuple[float, ...]
    mirror: tuple[float, ...]
    reverse: tuple[float, ...]


# All tokens of a clip, neither flipped nor backwards, whatever the schedules say.
AS_IT_IS = dict.fromkeys(("drop", "drop_static", "mirror", "reverse"), ())


def at(views: ViewConfig, step: float) -> Now:
    """The rows that hold at a step."""

    def value(table: Table) -> tuple[float, ...]:
        rows = [row for row in table if row[0] <= step]
        return rows[-1][1:] if rows else ()

    return Now(*(value(getattr(views, name)) for name in Now._fields))


def stages(views: ViewConfig) -> list[int]:
    """The steps at which a schedule changes, 0 among them, in order."""
    tables = (getattr(views, name) for name in Now._fields)
    return sorted({0, *(int(row[0]) for table in tables for row in table)})


class Captions(NamedTuple):
    """The captions that fit into a row, those of a clip side by side."""

    first: np.ndarray  # of each clip, into the arrays below
    count: np.ndarray  # of each clip
    tokens: np.ndarray  # of each caption
    numbers: np.ndarray | None  # of each caption among the clip's captions; None: all fit

    def index(self, captions: np.ndarray, clips: np.ndarray) -> np.ndarray:
        """Which of its clip's captions each is: n int64."""
        return captions - self.first[clips] if self.numbers is None else self.numbers[captions]


def fitting_captions(catalog: Catalog, limit: int) -> Captions:
    """The captions of at most `limit` tokens (0: any). ConfigError if a clip has none."""
    offsets, tokens = catalog.text_tokens.offsets, catalog.text_tokens.values
    counts = np.diff(offsets)
    if not limit or tokens.max(initial=0) <= limit:
        return Captions(offsets[:-1], counts, tokens, None)
    fits = tokens <= limit
    kept = np.diff(np.pad(fits.cumsum(), (1, 0))[offsets])
    if not kept.all():
        i, more = int(kept.argmin()), int((kept == 0).sum()) - 1
        raise ConfigError(
            f"data.text_tokens={limit}: clip {catalog.ids[i]} has no caption that fits, theirs "
            f"have {list(catalog.text_tokens[i])} tokens; {more} other clips have none either"
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


def _too_long(catalog: Catalog, clips, tokens, limit: int, patch: Size) -> str:
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
        "whole; data.latents are of whole clips at their own size: leave the table empty"
    )


def _mode_bounds(cfg: DataConfig) -> np.ndarray:
    weights = np.array([getattr(cfg.modes, name) for name in MODES])
    if (weights < 0).any() or not weights.sum() > 0:
        raise ConfigError(f"data.modes={cfg.modes}: expected weights of 0 or more, not all 0")
    return (weights / weights.sum()).cumsum()[:-1]
