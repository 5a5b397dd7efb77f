"""Where clips come from: shards on disk, or synthetic clips made in memory."""

import functools
import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from array_record.python.array_record_data_source import ArrayRecordDataSource

from videodit.config import SYNTHETIC, ConfigError
from videodit.data.catalog import Catalog
from videodit.data.tokenizer import Tokenizer, train_tokenizer
from videodit.data.video import read_frames


class Source(Protocol):
    """Clips that can be read in any order, from several threads, and pickled."""

    catalog: Catalog

    def read(self, i: int) -> np.ndarray:
        """Frames of the clip in row i of the catalog: uint8 T H W 3, RGB. Raises ConfigError."""


def open_source(catalog: str) -> Source:
    """The source that the config's data.catalog names: "synthetic", or a curated folder."""
    if not catalog:
        raise ConfigError(
            "data.catalog='': expected a folder made by "
            f"`python -m tools.curate --input=VIDEOS --out=FOLDER`, or '{SYNTHETIC}'"
        )
    return SyntheticSource() if catalog == SYNTHETIC else ArrayRecordSource(catalog)


def open_tokenizer(workdir: str) -> Tokenizer:
    """The tokenizer that the config's text.workdir names: "synthetic", or a folder with one."""
    if not workdir:
        raise ConfigError(
            f"text.workdir='': expected a folder with tokenizer.model, or '{SYNTHETIC}'"
        )
    return synthetic_tokenizer() if workdir == SYNTHETIC else Tokenizer.read(workdir)


def check_tokenizer(catalog: Catalog, tokenizer: Tokenizer) -> None:
    """Raises ConfigError if the catalog's token counts were made with another tokenizer."""
    if catalog.tokenizer != tokenizer.digest:
        raise ConfigError(
            f"text.workdir: its tokenizer ({tokenizer.digest}) is not the one that counted the "
            f"captions of data.catalog ({catalog.tokenizer}); use the tokenizer.model in the "
            "catalog's folder, or curate with --tokenizer"
        )


class _Shard(NamedTuple):
    """What ArrayRecordDataSource asks of a file, so that it opens none before the first read."""

    filename: str
    skip: int
    take: int
    examples_in_shard: int


class ArrayRecordSource:
    """Encoded clips in ArrayRecord shards beside their catalog, as tools.curate writes them."""

    def __init__(self, folder: str | os.PathLike):
        """Reads the catalog; shards are opened when first needed. Raises ConfigError."""
        self.catalog = Catalog.read(folder)
        shards, shard_of = np.unique(self.catalog.shard.astype(str), return_inverse=True)
        sizes = np.zeros(len(shards), np.int64)
        np.maximum.at(sizes, shard_of, self.catalog.index + 1)
        files = [
            _Shard(str(Path(folder) / shard), 0, size, size)
            for shard, size in zip(shards, sizes.tolist())
        ]
        self._records = ArrayRecordDataSource(files)
        self._keys = (np.cumsum(sizes) - sizes)[shard_of] + self.catalog.index

    def read(self, i: int) -> np.ndarray:
        """Frames of the clip in row i of the catalog: uint8 T H W 3, RGB.

        Raises ConfigError naming the clip and its shard if the shard lacks it, if it cannot be
        decoded, or if it has not the size and the frame count that the catalog says.
        """
        row = self.catalog
        expected = (int(row.frames[i]), int(row.height[i]), int(row.width[i]), 3)
        try:
            frames = read_frames(self._records[self._keys[i]])
            if frames.shape != expected:
                raise ConfigError(f"T H W 3 is {frames.shape}, the catalog says {expected}")
        except (ConfigError, RuntimeError, ValueError, IndexError) as error:
            where = f"record {row.index[i]} of {row.shard[i]}"
            raise ConfigError(f"clip {row.ids[i]}, {where}: {error}") from error
        return frames


# Synthetic clips: shapes of these kinds that move on a plain background. All of it is numpy.

COLORS = {
    "red": (220, 40, 40),
    "green": (40, 170, 60),
    "blue": (50, 80, 220),
    "yellow": (235, 210, 50),
    "purple": (150, 60, 190),
    "white": (240, 240, 240),
    "black": (20, 20, 20),
}
# Distance from the outline, negative inside, of a shape of radius r at offset (y, x).
OUTLINES = {
    "circle": lambda y, x, r: np.hypot(y, x) - r,
    "square": lambda y, x, r: np.maximum(abs(y), abs(x)) - r,
    "diamond": lambda y, x, r: (abs(y) + abs(x) - r) / np.sqrt(2),
}
DIRECTIONS = {"left": (0, -1), "right": (0, 1), "up": (-1, 0), "down": (1, 0)}  # y, x
SIZES = ((56, 32), (32, 32), (48, 48), (64, 64), (32, 56))  # width, height: about 16:9, 1:1, 9:16
FRAMES = (1, 5, 9, 17)
RATES = (8, 12, 24)  # frames per second
VAL_EVERY = 8
TOKENIZER_CLIPS = 512
VOCAB_SIZE = 384


class _Mover(NamedTuple):
    color: str
    shape: str
    radius: float  # pixels
    start: np.ndarray  # y, x in pixels
    direction: str
    travel: float  # pixels, from the first to the last frame


class _Scene(NamedTuple):
    width: int
    height: int
    frames: int
    fps: int
    background: str
    movers: tuple[_Mover, ...]


class SyntheticSource:
    """Coloured shapes that move on a plain background, with true captions: data for trying out.

    Clip i is a pure function of (seed, i).
    """

    def __init__(self, clips: int = 256, seed: int = 0):
        self.seed, self.tokenizer = seed, synthetic_tokenizer()
        self.catalog = _synthetic_catalog(clips, seed, self.tokenizer)

    def read(self, i: int) -> np.ndarray:
        """Frames of clip i: uint8 T H W 3, RGB."""
        return _render(_scene(self.seed, i))


@functools.cache
def synthetic_tokenizer() -> Tokenizer:
    """The one tokenizer of all synthetic sources, whatever their number of clips and seed."""
    captions = [_caption(_scene(0, i)) for i in range(TOKENIZER_CLIPS)]
    return train_tokenizer(captions, VOCAB_SIZE)


def _synthetic_catalog(clips: int, seed: int, tokenizer: Tokenizer) -> Catalog:
    scenes = [_scene(seed, i) for i in range(clips)]
    captions = [_caption(scene) for scene in scenes]
    rows = np.arange(clips, dtype=np.int32)
    return Catalog(
        ids=_strings(f"synthetic-{seed}-{i}" for i in range(clips)),
        shard=_strings([SYNTHETIC] * clips),
        index=rows,
        width=np.array([scene.width for scene in scenes], np.int32),
        height=np.array([scene.height for scene in scenes], np.int32),
        frames=np.array([scene.frames for scene in scenes], np.int32),
        fps=np.array([scene.fps for scene in scenes], np.float32),
        captions=[(caption,) for caption in captions],
        text_tokens=[(len(tokenizer.encode(caption)),) for caption in captions],
        split=_strings("val" if i % VAL_EVERY == VAL_EVERY - 1 else "train" for i in range(clips)),
        tokenizer=tokenizer.digest,
    )


def _strings(values: Iterable[str]) -> np.ndarray:
    return np.array(list(values), object)


def _scene(seed: int, i: int) -> _Scene:
    """What clip i shows: one or two shapes of different colours, each going one way."""
    rng = np.random.default_rng((seed, i))
    width, height = SIZES[rng.integers(len(SIZES))]
    background, *colors = rng.permutation(list(COLORS))[: 2 + rng.integers(2)].tolist()
    # The later shape lies in front: being smaller, it never hides the first one.
    radii = [scale * min(width, height) for scale in rng.uniform((0.18, 0.12), (0.22, 0.15))]
    movers = tuple(_mover(rng, *look, width, height) for look in zip(colors, radii))
    return _Scene(
        width, height, int(rng.choice(FRAMES)), int(rng.choice(RATES)), background, movers
    )


def _mover(rng: np.random.Generator, color: str, radius: float, width: int, height: int) -> _Mover:
    """A shape whose whole way lies inside the picture."""
    shape, direction = str(rng.choice(list(OUTLINES))), str(rng.choice(list(DIRECTIONS)))
    room = np.array([height, width]) - 2 * radius  # y, x: for the centre
    step = np.array(DIRECTIONS[direction])
    travel = rng.uniform(0.5, 0.9) * abs(step @ room)
    # Along its way, the start leaves room for the travel; a way back starts at the far end.
    offset = rng.uniform(0, room - abs(step) * travel) + (step < 0) * travel
    return _Mover(color, shape, radius, radius + offset, direction, travel)


def _caption(scene: _Scene) -> str:
    way = "moves {}" if scene.frames > 1 else ""
    parts = [f"a {m.color} {m.shape} {way.format(m.direction)}".strip() for m in scene.movers]
    return f"{' and '.join(parts)} on a {scene.background} background"


def _render(scene: _Scene) -> np.ndarray:
    """uint8 T H W 3; edges are smoothed over a pixel, so motion by part of a pixel shows."""
    y, x = np.mgrid[: scene.height, : scene.width] + 0.5
    video = np.empty((scene.frames, scene.height, scene.width, 3))
    video[:] = COLORS[scene.background]
    for mover in scene.movers:
        for picture, done in zip(video, np.linspace(0, 1, scene.frames)):
            centre = mover.start + done * mover.travel * np.array(DIRECTIONS[mover.direction])
            outline = OUTLINES[mover.shape](y - centre[0], x - centre[1], mover.radius)
            cover = np.clip(0.5 - outline, 0, 1)[..., None]
            picture += cover * (COLORS[mover.color] - picture)
    return video.round().astype(np.uint8)
