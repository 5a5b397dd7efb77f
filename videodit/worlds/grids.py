"""What the worlds made of tiles share: time in steps, pictures at the asked size, directions."""

from itertools import pairwise

import numpy as np
from PIL import Image

from videodit.worlds.world import Shape, Slots

STEPS_PER_SECOND = 6
EVENTS = 5  # of a clip that are facts, in order, under the names e1, e2, ...
NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
TIMES = {"two": "twice|two times", **{n: f"{n} times" for n in NUMBERS[3:]}}
HEADINGS = {
    "left": "(to the left|left)",
    "right": "(to the right|right)",
    "up": "(up|upwards)",
    "down": "(down|downwards)",
    "up left": "(up and to the left|up and left)",
    "up right": "(up and to the right|up and right)",
    "down left": "(down and to the left|down and left)",
    "down right": "(down and to the right|down and right)",
}
HEADINGS = {name: phrases.strip("()") for name, phrases in HEADINGS.items()}


def steps_shown(shape: Shape) -> list[int]:
    """The step that each frame shows; frame k is what is seen after k / fps seconds."""
    return [int(k / shape.fps * STEPS_PER_SECOND + 1e-6) for k in range(shape.frames)]


def resized(picture: np.ndarray, width: int, height: int) -> np.ndarray:
    """A picture (uint8 H W 3) at another size: averaged over areas, or repeated if enlarged."""
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.BOX))


def heading(x: int, y: int) -> str:
    """The word for a displacement in tiles (x to the right, y down); "" for none.

    A diagonal is called so where the smaller part is at least half of the larger one.
    """
    vertical = ("down" if y > 0 else "up") if 2 * abs(y) >= abs(x) and y else ""
    horizontal = ("right" if x > 0 else "left") if 2 * abs(x) >= abs(y) and x else ""
    return f"{vertical} {horizontal}".strip()


def walks(places: list[list[int]]) -> list[Slots]:
    """Events that tell of a way through these tiles, one for each stretch without turning back."""
    stretches, used = [], set()
    for before, after in pairwise(places):
        step = [b - a for a, b in zip(before, after)]
        signs = {(axis, np.sign(size)) for axis, size in enumerate(step) if size}
        if not stretches or any((axis, -sign) in used for axis, sign in signs):
            stretches.append([0, 0])
            used = set()
        used |= signs
        stretches[-1] = [a + b for a, b in zip(stretches[-1], step)]
    return [{"verb": "walk", "motion": heading(*way)} for way in stretches if any(way)]


def event_slots(events: list[Slots]) -> Slots:
    """The first EVENTS events as slots: {"e1.verb": ..., "e2.verb": ...}."""
    return {
        f"e{i}.{name}": value
        for i, event in enumerate(events[:EVENTS], 1)
        for name, value in event.items()
    }


def chain(first: str, then: str) -> str:
    """A template that tells every event there is: rule `first` for e1, `then` for the others."""
    tail = ""
    for i in range(EVENTS, 1, -1):
        tail = f"({{!e{i}.verb}}|{{?e{i}.verb}}{{{then}:e{i}}}{tail})"
    return f"{{{first}:e1}}{tail}"
