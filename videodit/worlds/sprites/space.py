"""The space and the time in which sprites move, and the names of what they do there.

Lengths are in units of the shorter side of the picture, times in parts of the clip: at another
resolution of one aspect a seed gives the same scene.
"""

from typing import NamedTuple

import numpy as np

from videodit.worlds.sprites.drawing import extent
from videodit.worlds.world import Shape, Slots

SIZES = {"small": (0.12, 0.14), "medium": (0.17, 0.19), "large": (0.225, 0.25)}
DIRECTIONS = {  # x, y
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
SLOW, FAST = 0.14, 0.55  # short sides a second; speeds near them are not drawn
DOUBT = 0.12  # relative, of a speed
MAX_SPEED = 1.7
EVENT_FRAMES = 7  # fewer cannot show what was before and after
MIN_EVENT_SECONDS = 0.25
STROKE_FRAMES = 4
TRIES = 12
ROLES, COUNTS = "abc", ("one", "two", "three")
COLUMNS, ROWS = ("left", "", "right"), ("top", "", "bottom")
THIRD = 0.41  # of the picture: a side ends, the middle begins
DOUBTFUL = 0.03  # from there: nothing rests so near to it


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

    def pick(self, options):
        options = list(options)
        return options[int(self.rng.random() * len(options))]

    def uniform(self, low: float, high: float) -> float:
        return low + (high - low) * float(self.rng.random())

    def moment(self, low: float, high: float) -> float:
        """The time of a frame between these parts of the clip."""
        return self.pick(self.times[(self.times >= low) & (self.times <= high)].tolist())

    def rest(self, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """A point between these whose place has a name without doubt."""
        for _ in range(TRIES):
            point = self.between(low, high)
            if self.is_clear(point):
                return point
        return self.size / 2

    def is_clear(self, point: np.ndarray) -> bool:
        """Whether nobody could doubt which `place` that is."""
        return bool((abs(abs(point / self.size - 0.5) - (0.5 - THIRD)) > DOUBTFUL).all())

    def between(self, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        return low + (high - low) * self.rng.random(2)


class Look(NamedTuple):
    """What a shape is, wherever it is."""

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
    """A shape and where it is."""

    color: str
    kind: str
    size: str
    radius: float
    centres: np.ndarray  # T 2: x, y
    facts: Slots  # motion, speed, event, then, other (index of another actor)


def place(x: float, y: float) -> str:
    """Where in the picture (0 to 1 each way) that is: "left", "top right", "center", ..."""
    row, column = (
        names[int(value > THIRD) + int(value > 1 - THIRD)]
        for value, names in ((y, ROWS), (x, COLUMNS))
    )
    return f"{row} {column}".strip() or "center"


def draw_look(space: Space, color: str, kind: str, sizes=tuple(SIZES)) -> Look:
    size = space.pick(sizes)
    return Look(color, kind, size, round(space.uniform(*SIZES[size]), 4))


def act(space: Space, look: Look, knots: list, facts: Slots) -> Actor:
    """`knots`: (time, (x, y)); between them the shape moves steadily."""
    times, points = [time for time, _ in knots], np.array([point for _, point in knots])
    centres = np.stack([np.interp(space.times, times, points[:, k]) for k in (0, 1)], axis=1)
    return Actor(*look, centres, facts)


def speed_facts(space: Space, distance: float, duration: float = 1.0) -> Slots | None:
    """The fact about a speed; None if it is too fast, or neither clearly slow, fast nor between."""
    speed = distance / (duration * space.seconds)
    if speed > MAX_SPEED or any(abs(speed / s - 1) < DOUBT for s in (SLOW, FAST)):
        return None
    return {"speed": "slow" if speed < SLOW else "fast" if speed > FAST else "medium"}


def direction_name(step: np.ndarray) -> str:
    """The direction of a step (x, y)."""
    return next(name for name, way in DIRECTIONS.items() if tuple(np.sign(step)) == way)
