"""The interface of all worlds: from a seed to a clip with its states, captions and facts."""

import importlib
from typing import NamedTuple, Protocol

import numpy as np

from videodit.config import ConfigError, check

WORLDS = ("sprites", "stage", "survival", "maze", "rooms")
COMBINATIONS = ("seen", "held_out")
SCENES = ("all", "one")

Slots = dict[str, str]  # facts by name, values are words: {"a.color": "red", "camera": "orbit"}


class Shape(NamedTuple):
    """The size, length and rate of a clip."""

    width: int  # pixels
    height: int
    frames: int
    fps: float


class Caption(NamedTuple):
    """A text and what it claims: some of the clip's slots, under the same names."""

    text: str
    slots: Slots


class Clip(NamedTuple):
    """A rendered clip and everything that is known about it."""

    frames: np.ndarray  # uint8 T H W 3, RGB
    fps: float
    states: list[dict]  # one for each frame: numbers and words that JSON can hold
    short: Caption  # as people type
    long: Caption  # as a good captioner writes
    slots: Slots  # every fact that the frames show


class Detection(NamedTuple):
    """The value that a detector sees for a slot."""

    value: str
    confidence: float  # 0 to 1


class World(Protocol):
    """Makes clips whose truth is known, reads captions, and finds slots in frames."""

    name: str
    scenes: tuple[str, ...]  # of SCENES, those that it can make

    def make(
        self, seed: int, shape: Shape, combinations: str = "seen", scenes: str = "all"
    ) -> Clip:
        """A clip: a pure function of the arguments.

        `combinations`: one of COMBINATIONS. "held_out" clips show a pair of attributes, such as a
        color and a kind, that "seen" clips never show together. `scenes`: one of SCENES. "one" has
        one object on a plain ground, which a small model learns first. Raises ConfigError for
        another value, and where the simulator cannot start.
        """

    def parse(self, text: str) -> Slots:
        """What a short or long caption claims.

        Raises ValueError that names the words it cannot read.
        """

    def detect(self, frames: np.ndarray, fps: float) -> dict[str, Detection]:
        """The slots that can be seen in frames (uint8 T H W 3, RGB). `fps`: frames a second."""


def open_world(name: str) -> World:
    """The world of that name.

    Raises ConfigError if there is no such world, or its simulator is not installed.
    """
    check(name in WORLDS, "world", name, "one of " + ", ".join(WORLDS))
    try:
        module = importlib.import_module(f"videodit.worlds.{name}.world")
    except ImportError as error:
        if (error.name or "").startswith("videodit"):
            raise
        raise ConfigError(
            f"world={name!r}: its simulator cannot be imported ({error}); "
            "install it with: pip install -e '.[worlds]'"
        ) from error
    return module.WORLD


def check_choices(world: World, combinations: str, scenes: str) -> None:
    """Raises ConfigError unless the world can make these `combinations` and `scenes`."""
    check(combinations in COMBINATIONS, "combinations", combinations, " or ".join(COMBINATIONS))
    expected = " or ".join(map(repr, world.scenes)) + f", which the world {world.name} has"
    check(scenes in world.scenes, "scenes", scenes, expected)
