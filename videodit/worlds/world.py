"""The one interface of all worlds: from a seed to a clip, its state, its captions and its facts."""

import importlib
from typing import NamedTuple, Protocol

import numpy as np

from videodit.config import ConfigError, check

WORLDS = ("sprites", "stage", "survival", "maze", "rooms")
COMBINATIONS = ("seen", "held_out")

Slots = dict[str, str]  # facts, flat, values are words: {"a.color": "red", "camera": "orbit"}


class Shape(NamedTuple):
    """What a clip is to measure."""

    width: int  # pixels
    height: int
    frames: int
    fps: float


class Caption(NamedTuple):
    """A text, and what it claims: some of the clip's slots under the same names."""

    text: str
    slots: Slots


class Clip(NamedTuple):
    """A rendered clip and all that is known of it."""

    frames: np.ndarray  # uint8 T H W 3, RGB
    fps: float
    states: list[dict]  # one a frame: numbers and words
    short: Caption  # as people type
    long: Caption  # as a good captioner writes
    slots: Slots  # every fact that the frames show


class Detection(NamedTuple):
    """What a detector sees in place of a slot's value."""

    value: str
    confidence: float  # 0 to 1


class World(Protocol):
    """A maker of clips whose truth is known."""

    name: str

    def make(self, seed: int, shape: Shape, combinations: str = "seen") -> Clip:
        """A clip: a pure function of the arguments.

        `combinations`: "held_out" clips show a pair of attributes that "seen" ones never show.
        """

    def parse(self, text: str) -> Slots:
        """What a short or long caption claims. Raises ValueError naming what it cannot read."""

    def detect(self, frames: np.ndarray, fps: float) -> dict[str, Detection]:
        """The slots that can be seen in frames (uint8 T H W 3, RGB)."""


def open_world(name: str) -> World:
    """The world of that name. Raises ConfigError if there is none, or its simulator is missing."""
    check(name in WORLDS, "world", name, "one of " + ", ".join(WORLDS))
    try:
        module = importlib.import_module(f"videodit.worlds.{name}.world")
    except ImportError as error:
        raise ConfigError(
            f"world={name!r}: its simulator cannot be imported ({error}); "
            "install it with: pip install -e .[worlds]"
        ) from error
    return module.WORLD


def check_combinations(combinations: str) -> None:
    """Raises ConfigError unless `combinations` is one of COMBINATIONS."""
    check(combinations in COMBINATIONS, "combinations", combinations, " or ".join(COMBINATIONS))
