"""What a maze clip shows: the hall, the things in it, and what the player will do.

Lengths are in Doom's units (maze/map.py). "seen" clips never show the colours and kinds of HELD_OUT
together.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from videodit.worlds.maze.map import LENGTH, WIDTH

WALLS = {  # Doom's texture of each
    "brick": "BRICK7",
    "stone": "STONE2",
    "concrete": "GRAY1",
    "wood": "WOOD5",
    "marble": "MARBLE1",
    "red": "REDWALL",
    "blue": "COMPBLUE",
}
FLOORS = {
    "stone": "FLOOR4_8",
    "grass": "GRASS1",
    "wood": "FLAT5_1",
    "earth": "FLAT10",
    "lava": "LAVA1",
    "water": "FWATER1",
    "slime": "NUKAGE1",
}
THINGS = {  # Doom's number of each
    ("red", "torch"): 46,
    ("green", "torch"): 45,
    ("blue", "torch"): 44,
    ("red", "pillar"): 32,
    ("green", "pillar"): 30,
    ("green", "tree"): 47,
    ("brown", "tree"): 54,
    ("grey", "lamp"): 85,
    ("grey", "barrel"): 2035,
}
HELD_OUT = (("green", "torch"), ("red", "pillar"))
PROGRAMS = ("walk", "back off", "turn", "look away", "walk and turn", "open", "stand")
MOST = 3  # things in front of the player at the start
START = 160.0  # from the wall behind the player
REACH = 48  # distance to the door at which the player opens it
VIEW = math.tan(math.radians(45))  # half the width of the view at distance 1, at 4:3
AISLE = 72  # half the width of the way to the door, where nothing stands
APART = math.radians(8)  # least angle between two things, as the player sees them

Pair = tuple[str, str]  # colour and kind of a thing
Placed = tuple[Pair, float, float]  # a thing, its x and its y


class Scene(NamedTuple):
    """All that is decided before the game starts."""

    start: float  # the player's x
    things: list[Placed]
    walls: tuple[str, str]  # of the hall, and of the room behind it
    floors: tuple[str, str]
    program: str  # one of PROGRAMS
    side: int  # the player turns to the left (-1) or to the right (1)
    angle: float  # degrees of a turn
    distance: float  # of a walk
    tics: int  # length of the clip


def draw_scene(rng: np.random.Generator, aspect: float, tics: int, held_out: bool) -> Scene:
    """A random scene for a clip of this width / height; short clips have fewer programs.

    Where no place is found for a thing, it is left out: `things` may be empty.
    """
    possible = PROGRAMS if tics >= 40 else PROGRAMS[:5] if tics >= 12 else PROGRAMS[:3]
    program = str(rng.choice(possible))
    distance = float(min(rng.uniform(60, 260), 6 * tics))
    starts = {"open": LENGTH - REACH - min(distance, 1.5 * tics), "back off": START + distance}
    start = starts.get(program, START)
    pairs = _pairs(rng, held_out)
    walls = [str(name) for name in rng.permutation(list(WALLS))[:2]]
    floors = [str(name) for name in rng.permutation(list(FLOORS))[:2]]
    return Scene(
        start=start,
        things=_placed(rng, pairs, start, aspect),
        walls=(walls[0], walls[1]),
        floors=(floors[0], floors[1]),
        program=program,
        side=int(rng.choice((-1, 1))),
        angle=float(rng.uniform(50, 120)),
        distance=distance,
        tics=tics,
    )


def _pairs(rng: np.random.Generator, held_out: bool) -> list[Pair]:
    """Up to MOST different things; with `held_out`, the first is one of HELD_OUT."""
    pairs = [pair for pair in THINGS if pair not in HELD_OUT]
    pairs = [pairs[k] for k in rng.permutation(len(pairs))[: rng.integers(1, MOST + 1)]]
    if held_out:
        pairs[0] = HELD_OUT[rng.integers(len(HELD_OUT))]
    return pairs


def _placed(
    rng: np.random.Generator, pairs: Sequence[Pair], start: float, aspect: float
) -> list[Placed]:
    """Things in view from the start; none hides another, none stands in the aisle."""
    half = math.atan(VIEW * min(aspect / (4 / 3), 4 / 3))
    placed: list[Placed] = []
    for pair in pairs:
        for _ in range(100):
            bearing, far = rng.uniform(-0.85 * half, 0.85 * half), rng.uniform(90, 480)
            x, y = start + far * math.cos(bearing), far * math.sin(bearing)
            inside = x < LENGTH - 40 and AISLE < abs(y) < WIDTH / 2 - 40
            clear = all(abs(bearing - math.atan2(v, u - start)) > APART for _, u, v in placed)
            if inside and clear:
                placed.append((pair, x, y))
                break
    return placed
