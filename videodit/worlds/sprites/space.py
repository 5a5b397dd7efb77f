"""The space and the time in which sprites move, and the names of sizes, directions and speeds.

Lengths are in units of the shorter side of the picture, times are parts of the clip, 0 to 1. A seed
therefore gives the same scene at every resolution of the same aspect.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeVar

import numpy as np

from videodit.worlds.sprites.drawing import extent
from videodit.worlds.world import Shape, Slots

SIZES = {  # smallest and largest radius
    "small": (0.12, 0.14),
    "medium": (0.17, 0.19),
    "large": (0.225, 0.25),
}
DIRECTIONS = {  # x to the right, y down
    "left": (-1, 0),
    "right": (1, 0),
    "up": (0, -1),
    "down": (0, 1),
    "up-left": (-1, -1),
    "up-right": (1, -1),
    "down-left": (-1, 1),
    "down-right": (1, 1),
}
STRAIGHT = ("left", "right", "up", "down")
EDGES = {"left": "left", "right": "right", "up": "top", "down": "bottom"}
OPPOSITE = {"left": "right", "right": "left", "up": "down", "down": "up"}
SLOW, FAST = 0.14, 0.55  # short sides a second: bounds of "slow" and of "fast"
DOUBT = 0.12  # no speed is drawn that is closer to SLOW or FAST, relative to them
MAX_SPEED = 1.7
EVENT_FRAMES = 7  # fewer frames cannot show what is before and after an event
MIN_EVENT_SECONDS = 0.25
STROKE_FRAMES = 4  # fewer frames show a stroke that is finished
TRIES = 12  # random attempts to find room
ROLES, COUNTS = "abc", ("one", "two", "three")
COLUMNS, ROWS = ("left", "", "right"), ("top", "", "bottom")
THIRD = 0.41  # part of the picture where "left" ends and the middle begins
DOUBTFUL = 0.03  # nothing rests closer to that border

T = TypeVar("T")


class Space:
    """The space and the time of a clip."""

    def __init__(self, rng: np.random.Generator, shape: Shape):
        side = min(shape.width, shape.height)
        self.rng = rng
        self.size = np.array([shape.width / side, shape.height / side])
        self.frames = shape.frames
        self.seconds = (shape.frames - 1) / shape.fps
        self.times = np.linspace(0, 1, shape.frames)
        self.eventful = shape.frames >= EVENT_FRAMES and self.seconds >= MIN_EVENT_SECONDS

    def pick(self, options: Iterable[T]) -> T:
        """One of the options at random."""
        options = list(options)
        return options[int(self.rng.random() * len(options))]

    def uniform(self, low: float, high: float) -> float:
        """A number between these."""
        return low + (high - low) * float(self.rng.random())

    def moment(self, low: float, high: float) -> float:
        """The time of a frame between these parts of the clip."""
        return self.pick(self.times[(self.times >= low) & (self.times <= high)].tolist())

    def rest(self, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """A point (x, y) between these whose `place` is clear, or the middle of the picture."""
        for _ in range(TRIES):
            point = self.between(low, high)
            if self.is_clear(point):
                return point
        return self.size / 2

    def is_clear(self, point: np.ndarray) -> bool:
        """Whether a point is far enough from the borders between the named places."""
        return bool((abs(abs(point / self.size - 0.5) - (0.5 - THIRD)) > DOUBTFUL).all())

    def between(self, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """A point (x, y) between these."""
        return low + (high - low) * self.rng.random(2)


class Look(NamedTuple):
    """What a shape looks like, wherever it is."""

    color: str
    kind: str
    size: str
    radius: float

    def low(self) -> np.ndarray:
        """How far the shape reaches to the left and up."""
        return self.radius * np.array([extent(self.kind)[0], extent(self.kind)[2]])

    def high(self) -> np.ndarray:
        """How far it reaches to the right and down."""
        return self.radius * np.array([extent(self.kind)[1], extent(self.kind)[3]])


class Actor(NamedTuple):
    """A shape, where it is in each frame, and the facts about it."""

    color: str
    kind: str
    size: str
    radius: float
    centres: np.ndarray  # T 2: x, y
    facts: Slots  # motion, speed, event, then; other: the index of the actor that it meets


def place(x: float, y: float) -> str:
    """The name of a point in the picture, x and y from 0 to 1: "left", "top right", "center"."""
    row, column = (
        names[int(value > THIRD) + int(value > 1 - THIRD)]
        for value, names in ((y, ROWS), (x, COLUMNS))
    )
    return f"{row} {column}".strip() or "center"


def draw_look(space: Space, color: str, kind: str, sizes: Sequence[str] = tuple(SIZES)) -> Look:
    """A look of one of these sizes."""
    size = space.pick(sizes)
    return Look(color, kind, size, round(space.uniform(*SIZES[size]), 4))


def act(space: Space, look: Look, knots: Sequence[tuple[float, np.ndarray]], facts: Slots) -> Actor:
    """An actor that passes the knots (time, point) and moves steadily between them."""
    times, points = [time for time, _ in knots], np.array([point for _, point in knots])
    centres = np.stack([np.interp(space.times, times, points[:, k]) for k in (0, 1)], axis=1)
    return Actor(*look, centres, facts)


def speed_facts(space: Space, distance: float, duration: float = 1.0) -> Slots | None:
    """The fact about the speed of an actor that goes `distance` in this part of the clip.

    None if it is above MAX_SPEED, or too close to a bound between slow, medium and fast.
    """
    speed = distance / (duration * space.seconds)
    if speed > MAX_SPEED or any(abs(speed / s - 1) < DOUBT for s in (SLOW, FAST)):
        return None
    return {"speed": "slow" if speed < SLOW else "fast" if speed > FAST else "medium"}


def direction_name(step: np.ndarray) -> str:
    """The name of the direction of a step (x, y)."""
    return next(name for name, way in DIRECTIONS.items() if tuple(np.sign(step)) == way)
