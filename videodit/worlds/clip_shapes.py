"""The seeds of a world's clips, and how large and long each is: drawn, a function of its seed."""

import functools
import hashlib
from typing import NamedTuple

import numpy as np
from absl import flags

from videodit.config import AutoencoderConfig, ConfigError, check
from videodit.data.patches import grid
from videodit.worlds.world import Shape

PATCH = AutoencoderConfig().patch
STREAM = 1  # of a clip's random numbers; the worlds' own is the seed's first


class Shapes(NamedTuple):
    """Whole patches: width and height are multiples of PATCH's, frames one more than one.

    Sizes are drawn evenly over the logarithm of both sides, then frames and fps evenly.
    """

    sides: tuple[int, int] = (32, 128)  # pixels: least and most of width and of height
    aspect: float = 3.0  # at most, of the longer side to the shorter
    frames: tuple[int, int] = (1, 65)
    fps: tuple[int, int] = (4, 24)  # whole numbers
    tokens: int = 504  # patches of a clip at most; 0 is no limit

    def draw(self, seed: int) -> Shape:
        """The shape of the clip with this seed. Raises ConfigError if there is none to draw."""
        rng = np.random.default_rng((seed, STREAM))
        sizes, chances = _sizes(self)
        width, height = sizes[rng.choice(len(sizes), p=chances)]
        frames = int(rng.choice(_frames(self, width, height)))
        return Shape(width, height, frames, float(rng.integers(self.fps[0], self.fps[1] + 1)))


def clip_seed(seed: int, split: str, index: int) -> int:
    """The seed, below 2**63, of a clip of a run."""
    digest = hashlib.sha256(f"{seed} {split} {index}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


@functools.cache
def _sizes(shapes: Shapes) -> tuple[list[tuple[int, int]], np.ndarray]:
    """All (width, height) that have room for a clip, and how likely each is."""
    for name in ("sides", "frames", "fps"):
        least, most = getattr(shapes, name)
        check(1 <= least <= most, name, (least, most), "at least 1, and the most after the least")
    check(shapes.aspect >= 1, "aspect", shapes.aspect, "at least 1")
    widths, heights = (_multiples(shapes.sides, unit) for unit in (PATCH[2], PATCH[1]))
    sizes = [
        (width, height)
        for width in widths
        for height in heights
        if max(width, height) <= shapes.aspect * min(width, height)
        and len(_frames(shapes, width, height))
    ]
    if not sizes:
        raise ConfigError(f"{shapes}: no clip is like this; sides come in steps of {PATCH[1:]}")
    chances = np.array([1 / (width * height) for width, height in sizes])
    return sizes, chances / chances.sum()


def _multiples(bounds: tuple[int, int], unit: int) -> range:
    """Those between the bounds."""
    return range(-(-bounds[0] // unit) * unit, bounds[1] + 1, unit)


def _frames(shapes: Shapes, width: int, height: int) -> np.ndarray:
    """The numbers of frames that clips of a size may have."""
    frames = np.arange(1, shapes.frames[1] + 1, PATCH[0])
    times, rows, columns = grid(frames, height, width, PATCH)
    fits = times * rows * columns <= shapes.tokens if shapes.tokens else frames > 0
    return frames[fits & (frames >= shapes.frames[0])]


def define_flags() -> None:
    """The flags that `shapes_from_flags` reads."""
    default = Shapes()
    for name, what in (("sides", "pixels of a side"), ("frames", "frames"), ("fps", "frames/s")):
        value = ",".join(map(str, getattr(default, name)))
        flags.DEFINE_string(name, value, f"{what}, least and most")
    flags.DEFINE_float("aspect", default.aspect, "longer side to shorter side, at most")
    flags.DEFINE_integer(
        "tokens",
        default.tokens,
        f"patches ({'x'.join(map(str, PATCH))}) of a clip, at most: what a row of the model that "
        "trains on them holds, by default the demo's; 0 is no limit",
    )


def shapes_from_flags() -> Shapes:
    """Raises ConfigError for flags that are not two whole numbers."""
    args = flags.FLAGS
    bounds = {name: _two(name, getattr(args, name)) for name in ("sides", "frames", "fps")}
    return Shapes(**bounds, aspect=args.aspect, tokens=args.tokens)


def _two(name: str, text: str) -> tuple[int, int]:
    words = text.split(",")
    good = len(words) == 2 and all(word.strip().isdecimal() for word in words)
    check(good, name, text, "LEAST,MOST, two whole numbers")
    return int(words[0]), int(words[1])
