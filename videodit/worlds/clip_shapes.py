"""The seeds of a world's clips, and the size, length and rate that follow from each seed."""

import functools
import hashlib
from typing import NamedTuple

import numpy as np
from absl import flags

from videodit.config import AutoencoderConfig, ConfigError, check
from videodit.data.patches import grid
from videodit.worlds.world import Shape

PATCH = AutoencoderConfig().patch
STREAM = 1  # keeps these random numbers apart from those with which the world makes the clip


class Shapes(NamedTuple):
    """Bounds of random clip shapes. Clips consist of whole patches.

    Width and height are multiples of the patch's; the number of frames is a multiple of the patch's
    plus one. Sizes are uniform in the logarithm of both sides, frames and fps are uniform.
    """

    sides: tuple[int, int] = (32, 128)  # pixels: smallest and largest width and height
    aspect: float = 3.0  # largest ratio of the longer side to the shorter
    frames: tuple[int, int] = (1, 65)
    fps: tuple[int, int] = (4, 24)  # frames a second, whole numbers
    tokens: int = 504  # largest number of patches of a clip; 0 sets no limit

    def draw(self, seed: int) -> Shape:
        """The shape of the clip with this seed. Raises ConfigError if no shape is in the bounds."""
        rng = np.random.default_rng((seed, STREAM))
        sizes, chances = _sizes(self)
        width, height = sizes[rng.choice(len(sizes), p=chances)]
        frames = int(rng.choice(_frames(self, width, height)))
        return Shape(width, height, frames, float(rng.integers(self.fps[0], self.fps[1] + 1)))


def clip_seed(seed: int, split: str, index: int) -> int:
    """The seed of clip `index` of a split, below 2**63. `seed`: of the dataset."""
    digest = hashlib.sha256(f"{seed} {split} {index}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


@functools.cache
def _sizes(shapes: Shapes) -> tuple[list[tuple[int, int]], np.ndarray]:
    """All (width, height) in the bounds that have room for a clip, and their probabilities."""
    for name in ("sides", "frames", "fps"):
        least, most = getattr(shapes, name)
        check(1 <= least <= most, name, (least, most), "1 <= minimum <= maximum")
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
    """The multiples of `unit` within the bounds, both included."""
    return range(-(-bounds[0] // unit) * unit, bounds[1] + 1, unit)


def _frames(shapes: Shapes, width: int, height: int) -> np.ndarray:
    """The numbers of frames that clips of this size may have."""
    frames = np.arange(1, shapes.frames[1] + 1, PATCH[0])
    times, rows, columns = grid(frames, height, width, PATCH)
    fits = times * rows * columns <= shapes.tokens if shapes.tokens else frames > 0
    return frames[fits & (frames >= shapes.frames[0])]


def define_flags() -> None:
    """Defines the flags that `shapes_from_flags` reads."""
    default = Shapes()
    for name, what in (("sides", "pixels of a side"), ("frames", "frames"), ("fps", "frames/s")):
        value = ",".join(map(str, getattr(default, name)))
        flags.DEFINE_string(name, value, f"{what}: MIN,MAX")
    flags.DEFINE_float(
        "aspect", default.aspect, "largest ratio of the longer side to the shorter side"
    )
    flags.DEFINE_integer(
        "tokens",
        default.tokens,
        f"largest number of patches ({'x'.join(map(str, PATCH))}) of a clip: as many as a row of "
        "the model that trains on them holds, by default the demo's; 0 sets no limit",
    )


def shapes_from_flags() -> Shapes:
    """The bounds that the command line asks for.

    Raises ConfigError if a pair is not two whole numbers.
    """
    args = flags.FLAGS
    bounds = {name: _two(name, getattr(args, name)) for name in ("sides", "frames", "fps")}
    return Shapes(**bounds, aspect=args.aspect, tokens=args.tokens)


def _two(name: str, text: str) -> tuple[int, int]:
    words = text.split(",")
    good = len(words) == 2 and all(word.strip().isdecimal() for word in words)
    check(good, name, text, "MIN,MAX, two whole numbers")
    return int(words[0]), int(words[1])
