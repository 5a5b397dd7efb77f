"""The scene of a clip of sprites: a background, a plot, and more shapes where there is room.

All shapes have different colours. Shapes meet, overlap or leave the picture only if a fact says so.
Lengths are in units of the shorter side of the picture.
"""

from typing import NamedTuple

import numpy as np

from videodit.worlds.sprites.drawing import BACKGROUNDS, COLORS, OUTLINES, Background, extent
from videodit.worlds.sprites.plots import (
    Plot,
    alone,
    bounces,
    collide,
    free,
    leaves,
    passes,
    still,
)
from videodit.worlds.sprites.space import (
    DIRECTIONS,
    STRAIGHT,
    STROKE_FRAMES,
    TRIES,
    Actor,
    Space,
    draw_look,
)
from videodit.worlds.world import Shape, Slots

HELD_OUT = {  # (colour, kind)
    ("red", "star"),
    ("orange", "diamond"),
    ("yellow", "cross"),
    ("green", "ring"),
    ("cyan", "circle"),
    ("blue", "triangle"),
    ("purple", "square"),
    ("pink", "star"),
}
EVENTFUL: list[Plot] = [
    *(alone, alone, bounces, bounces, leaves, leaves),
    *(passes, passes, collide),
]
SINGLE: list[Plot] = [alone, alone, bounces]
MARGIN = 0.04  # least distance between shapes that do not meet


class Line(NamedTuple):
    """A straight stroke and how it grows."""

    color: str
    half_width: float
    start: tuple[float, float]
    end: tuple[float, float]
    tips: np.ndarray  # T 2: x, y of the brush; NaN before it begins
    facts: Slots


class Scene(NamedTuple):
    """Everything that happens in a clip."""

    background: Background
    lines: list[Line]
    actors: list[Actor]  # from back to front


def draw_scene(
    rng: np.random.Generator, shape: Shape, held_out: bool, single: bool = False
) -> Scene:
    """A random scene. With `held_out`, its first shape has a colour and kind of HELD_OUT.

    No other shape has. A `single` shape is alone on a background of one colour, without strokes.
    """
    space = Space(rng, shape)
    background = _background(space, plain=single)
    colors = rng.permutation(list(COLORS)).tolist()
    kinds = [_kind(space, color, held_out and i == 0) for i, color in enumerate(colors)]
    looks = list(zip(colors, kinds))
    if single:
        return Scene(background, [], _play(space, looks, SINGLE))
    wanted = 1 + int(3 * rng.random())
    actors = _play(space, looks, EVENTFUL)
    lines = _paint(space, colors[4:], actors)
    for look in looks[len(actors) : max(wanted, len(actors))]:
        actors += _join(space, look, actors, lines)
    return Scene(background, lines, actors)


def _play(space: Space, looks: list[tuple[str, str]], plots: list[Plot]) -> list[Actor]:
    """The actors of one of the plots, or one that stays still if the plot finds no room."""
    plot = space.pick(plots if space.eventful else [alone])
    for _ in range(TRIES):
        actors = plot(space, looks)
        if actors:
            return actors
    return [still(space, draw_look(space, *looks[0], sizes=["small"]))]


def _background(space: Space, plain: bool) -> Background:
    colors = space.rng.permutation(list(BACKGROUNDS)).tolist()
    if plain or space.rng.random() < 0.6:
        return Background((colors[0],))
    border = round(space.uniform(0.4, 0.6), 2)
    return Background(tuple(colors[:2]), border, space.pick(["across", "down"]))


def _kind(space: Space, color: str, held_out: bool) -> str:
    """A random kind that with this colour is one of HELD_OUT, or is not."""
    return space.pick([kind for kind in OUTLINES if ((color, kind) in HELD_OUT) == held_out])


def _join(
    space: Space, look: tuple[str, str], actors: list[Actor], lines: list[Line]
) -> list[Actor]:
    """One more actor of this colour and kind that keeps clear of all others, if it finds room."""
    for _ in range(TRIES):
        actor = free(space, draw_look(space, *look, sizes=["small", "medium"]))
        if actor and _clear(actor, actors, lines):
            return [actor]
    return []


def _clear(actor: Actor, actors: list[Actor], lines: list[Line]) -> bool:
    """Whether the actor is at least MARGIN away from these actors and lines all the time."""
    reach = actor.radius * max(extent(actor.kind)) + MARGIN
    for other in actors:
        gap = np.sqrt(((actor.centres - other.centres) ** 2).sum(1))
        if gap.min() < reach + other.radius * max(extent(other.kind)):
            return False
    return all(_beside(line, actor.centres).min() > reach + line.half_width for line in lines)


def _beside(line: Line, points: np.ndarray) -> np.ndarray:
    """Distances (T) of points (T 2) from the middle line of a stroke."""
    corners = np.sort(np.array([line.start, line.end]), axis=0)
    return np.sqrt(((points - np.clip(points, *corners)) ** 2).sum(1))


def _paint(space: Space, colors: list[str], actors: list[Actor]) -> list[Line]:
    """Up to two strokes, painted one after the other, that keep clear of all actors."""
    if space.rng.random() > 0.35:
        return []
    count = 2 if space.eventful and space.rng.random() < 0.4 else 1
    spans = [(0.05, 0.95)] if count == 1 else [(0.0, 0.45), (0.52, 0.97)]
    lines: list[Line] = []
    for color, span in zip(colors, spans):
        for _ in range(TRIES):
            line = _line(space, color, span)
            apart = all(_gap(line, other) > MARGIN for other in lines)
            if apart and all(_clear(actor, [], [line]) for actor in actors):
                lines.append(line)
                break
        else:
            break
    return lines


def _line(space: Space, color: str, span: tuple[float, float]) -> Line:
    """A random stroke that is painted between these two parts of the clip."""
    way = space.pick(STRAIGHT)
    step = np.array(DIRECTIONS[way])
    axis, half = int(abs(step[1])), space.uniform(0.05, 0.07)
    edge = half + 0.02
    length = space.uniform(0.5, 0.95) * min(space.size[axis] - 2 * edge, 1.2)
    low = np.full(2, edge)
    high = space.size - edge
    start = space.between(low + length * (step < 0), high - length * (step > 0))
    end = start + length * step
    facts = {"line": "horizontal" if axis == 0 else "vertical"}
    if space.frames < STROKE_FRAMES:
        tips = np.broadcast_to(end, (space.frames, 2))
    else:
        done = np.interp(space.times, span, [0.0, 1.0])[:, None]
        tips = np.where(space.times[:, None] < span[0], np.nan, start + done * (end - start))
        facts["way"] = way
    return Line(color, half, tuple(start), tuple(end), tips, facts)


def _gap(one: Line, other: Line) -> float:
    """The distance between the boxes around two horizontal or vertical strokes."""
    boxes = [np.sort(np.array([line.start, line.end]), axis=0) for line in (one, other)]
    apart = np.maximum(boxes[0][0] - boxes[1][1], boxes[1][0] - boxes[0][1])
    return float(apart.max()) - one.half_width - other.half_width
