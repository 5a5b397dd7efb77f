"""Synthetic clips, made in memory: coloured shapes on a plain background, with true captions."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from videodit.config import SYNTHETIC
from videodit.data.sources.catalog import Part
from videodit.data.sources.indexing import IndexedClip, make_catalog
from videodit.data.tokenizer import Tokenizer, train_tokenizer
from videodit.data.video.files import View, resize
from videodit.data.video.measure import measure, stretches

COLORS = {
    "red": (220, 40, 40),
    "green": (40, 170, 60),
    "blue": (50, 80, 220),
    "yellow": (235, 210, 50),
    "purple": (150, 60, 190),
    "white": (240, 240, 240),
    "black": (20, 20, 20),
}
# Distance of an offset (y, x) from the outline of a shape of radius r; negative inside.
OUTLINES: dict[str, Callable[[np.ndarray, np.ndarray, float], np.ndarray]] = {
    "circle": lambda y, x, r: np.hypot(y, x) - r,
    "square": lambda y, x, r: np.maximum(abs(y), abs(x)) - r,
    "diamond": lambda y, x, r: (abs(y) + abs(x) - r) / np.sqrt(2),
}
DIRECTIONS = {"left": (0, -1), "right": (0, 1), "up": (-1, 0), "down": (1, 0)}  # y, x
SIZES = ((56, 32), (32, 32), (48, 48), (64, 64), (32, 56))  # width, height: 16:9, 1:1, 9:16
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
    """Clips that are made when they are read; clip i is a pure function of (seed, i)."""

    def __init__(self, clips: int = 256, seed: int = 0, tokenizer: Tokenizer | None = None) -> None:
        """Makes the catalog of `clips` clips, counted with `tokenizer` or the synthetic one."""
        self.seed, self.tokenizer = seed, tokenizer or synthetic_tokenizer()
        self.catalog = make_catalog([_clip(seed, i) for i in range(clips)], self.tokenizer)
        self.key = f"{SYNTHETIC} {clips} {seed}"
        self.parts: tuple[Part, ...] = (Part(0, clips, 1.0),)

    def read(self, i: int, view: View) -> np.ndarray:
        """The frames of `view` of clip i: uint8 T H W 3, RGB."""
        return resize(_render(_scene(self.seed, i)), view)


@functools.cache
def synthetic_tokenizer() -> Tokenizer:
    """The tokenizer that all synthetic sources share, whatever their number of clips and seed."""
    captions = [_caption(_scene(0, i)) for i in range(TOKENIZER_CLIPS)]
    return train_tokenizer(captions, VOCAB_SIZE)


def _clip(seed: int, i: int) -> IndexedClip:
    scene = _scene(seed, i)
    shape = (scene.frames, scene.height, scene.width)
    measured = measure(resize(_render(scene), view) for view in stretches(*shape))
    return IndexedClip(
        ids=f"synthetic-{seed}-{i}",
        shard=SYNTHETIC,
        index=i,
        width=scene.width,
        height=scene.height,
        frames=scene.frames,
        fps=scene.fps,
        captions=(_caption(scene),),
        split="val" if i % VAL_EVERY == VAL_EVERY - 1 else "train",
        motion=measured.motion,
        static=measured.static,
    )


def _scene(seed: int, i: int) -> _Scene:
    """What clip i shows: one or two shapes of different colours, each moving in one direction."""
    rng = np.random.default_rng((seed, i))
    width, height = SIZES[rng.integers(len(SIZES))]
    background, *colors = rng.permutation(list(COLORS))[: 2 + rng.integers(2)].tolist()
    # The second shape lies in front. It is smaller, so it never hides the first one.
    radii = [scale * min(width, height) for scale in rng.uniform((0.18, 0.12), (0.22, 0.15))]
    movers = tuple(_mover(rng, *look, width, height) for look in zip(colors, radii))
    return _Scene(
        width, height, int(rng.choice(FRAMES)), int(rng.choice(RATES)), background, movers
    )


def _mover(rng: np.random.Generator, color: str, radius: float, width: int, height: int) -> _Mover:
    """A shape that stays inside the picture on its whole way."""
    shape, direction = str(rng.choice(list(OUTLINES))), str(rng.choice(list(DIRECTIONS)))
    room = np.array([height, width]) - 2 * radius  # y, x: for the centre
    step = np.array(DIRECTIONS[direction])
    travel = float(rng.uniform(0.5, 0.9) * abs(step @ room))
    # The start leaves room for the travel; a shape that moves left or up starts at the far end.
    offset = rng.uniform(0, room - abs(step) * travel) + (step < 0) * travel
    return _Mover(color, shape, radius, radius + offset, direction, travel)


def _caption(scene: _Scene) -> str:
    way = "moves {}" if scene.frames > 1 else ""
    parts = [f"a {m.color} {m.shape} {way.format(m.direction)}".strip() for m in scene.movers]
    return f"{' and '.join(parts)} on a {scene.background} background"


def _render(scene: _Scene) -> np.ndarray:
    """uint8 T H W 3. Edges are smoothed over a pixel, so motion by part of a pixel is visible."""
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
