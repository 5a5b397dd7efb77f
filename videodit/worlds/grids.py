"""What the worlds made of tiles share: time in steps, resizing, directions and events."""

from itertools import pairwise

import numpy as np
from PIL import Image

from videodit.worlds.world import Shape, Slots

STEPS_PER_SECOND = 6
EVENTS = 5  # so many events of a clip become slots, in order: e1, e2, ...
NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
TIMES = {"two": "twice|two times", **{n: f"{n} times" for n in NUMBERS[3:]}}
HEADINGS = {
    "left": "to the left|left",
    "right": "to the right|right",
    "up": "up|upwards",
    "down": "down|downwards",
    "up left": "up and to the left|up and left",
    "up right": "up and to the right|up and right",
    "down left": "down and to the left|down and left",
    "down right": "down and to the right|down and right",
}


def steps_shown(shape: Shape) -> list[int]:
    """The step that each frame shows: frame k shows what is there after k / fps seconds."""
    return [int(k / shape.fps * STEPS_PER_SECOND + 1e-6) for k in range(shape.frames)]


def resized(picture: np.ndarray, width: int, height: int) -> np.ndarray:
    """A picture (uint8 H W 3) at another size; pixels are averaged over areas, or repeated."""
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.BOX))


def heading(x: int, y: int) -> str:
    """The word for a displacement of x tiles to the right and y tiles down; "" if both are 0.

    It is a diagonal such as "up left" if the smaller part is at least half of the larger one.
    """
    vertical = ("down" if y > 0 else "up") if 2 * abs(y) >= abs(x) and y else ""
    horizontal = ("right" if x > 0 else "left") if 2 * abs(x) >= abs(y) and x else ""
    return f"{vertical} {horizontal}".strip()


def walks(places: list[list[int]]) -> list[Slots]:
    """The events of a walk through these tiles [x, y]: one for each stretch without a way back."""
    stretches: list[list[int]] = []
    used: set[tuple[int, int]] = set()  # (axis, sign) of the steps of the last stretch
    for before, after in pairwise(places):
        step = [b - a for a, b in zip(before, after)]
        signs = {(axis, int(np.sign(size))) for axis, size in enumerate(step) if size}
        if not stretches or any((axis, -sign) in used for axis, sign in signs):
            stretches.append([0, 0])
            used = set()
        used |= signs
        stretches[-1] = [a + b for a, b in zip(stretches[-1], step)]
    return [{"verb": "walk", "motion": heading(x, y)} for x, y in stretches if x or y]


def event_slots(events: list[Slots]) -> Slots:
    """The first EVENTS events as slots: {"e1.verb": ..., "e2.verb": ...}."""
    return {
        f"e{i}.{name}": value
        for i, event in enumerate(events[:EVENTS], 1)
        for name, value in event.items()
    }


def chain(first: str, then: str) -> str:
    """A template that tells all events: by the rule `first` for e1, by `then` for the others."""
    tail = ""
    for i in range(EVENTS, 1, -1):
        tail = f"({{!e{i}.verb}}|{{?e{i}.verb}}{{{then}:e{i}}}{tail})"
    return f"{{{first}:e1}}{tail}"
