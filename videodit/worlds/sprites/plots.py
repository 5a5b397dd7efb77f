"""Plots: what one or two sprites do in a clip, drawn at random so that frames can show it.

A plot returns its actors from back to front, or an empty list if chance or the space did not allow
it. Lengths are in units of the shorter side of the picture.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np

from videodit.worlds.sprites.space import (
    DIRECTIONS,
    EDGES,
    MAX_SPEED,
    OPPOSITE,
    STRAIGHT,
    Actor,
    Look,
    Space,
    act,
    direction_name,
    draw_look,
    speed_facts,
)
from videodit.worlds.world import Slots

MIN_TRAVEL = 0.07  # a shape that moves goes at least this far
GAP = 0.02  # between two shapes before one passes the other
CIRCLE_FRAMES = 8  # fewer frames do not show a circle

Looks = Sequence[tuple[str, str]]  # (colour, kind) of the shapes, in the order of their use
Plot = Callable[[Space, Looks], list[Actor]]


def still(space: Space, look: Look) -> Actor:
    """An actor that does not move."""
    point = space.rest(look.low(), space.size - look.high())
    facts = {"motion": "still"} if space.frames > 1 else {}
    return act(space, look, [(0, point)], facts)


def _straight(space: Space, look: Look) -> Actor | None:
    """Moves in one direction and stays inside the picture."""
    motion = space.pick(DIRECTIONS)
    step = np.array(DIRECTIONS[motion])
    low, high = look.low(), space.size - look.high()
    room = min((high - low)[step != 0])
    norm = math.hypot(*step)
    longest = min(room, space.uniform(0.7, 1) * MAX_SPEED * space.seconds / norm)
    travel = max(longest * space.uniform(0.35, 1), MIN_TRAVEL)
    facts = speed_facts(space, travel * norm)
    if facts is None or travel > room:
        return None
    start = space.between(low + travel * (step < 0), high - travel * (step > 0))
    knots = [(0, start), (1, start + travel * step)]
    return act(space, look, knots, {"motion": motion} | facts)


def _circling(space: Space, look: Look) -> Actor | None:
    """Moves round a circle at least 0.8 times, and at most a sixth of it between two frames."""
    room = min(space.size - look.low() - look.high()) / 2
    ring = space.uniform(0.12, max(0.13, min(room, 0.35)))
    turns = space.uniform(0.8, min(3, max(0.9, space.seconds / 2)))
    facts = speed_facts(space, 2 * math.pi * ring * turns)
    few = space.frames < CIRCLE_FRAMES or turns > (space.frames - 1) / 6
    if few or ring > room or facts is None:
        return None
    centre = space.between(look.low() + ring, space.size - look.high() - ring)
    motion = space.pick(["clockwise", "counterclockwise"])
    way = 1 if motion == "clockwise" else -1  # y points down
    angles = 2 * math.pi * (space.uniform(0, 1) + way * turns * space.times)
    centres = centre + ring * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return Actor(*look, centres, {"motion": motion} | facts)


def free(space: Space, look: Look) -> Actor | None:
    """A random motion without an event; None if it finds no room."""
    if space.frames == 1:
        return still(space, look)
    motions: list[Callable[[Space, Look], Actor | None]]
    motions = [still, _straight, _straight, _straight, _circling]
    return space.pick(motions)(space, look)


def alone(space: Space, looks: Looks) -> list[Actor]:
    """One actor without an event."""
    actor = free(space, draw_look(space, *looks[0]))
    return [actor] if actor else []


def bounces(space: Space, looks: Looks) -> list[Actor]:
    """One goes to an edge of the picture, straight or diagonally, and bounces off it."""
    look = draw_look(space, *looks[0])
    motion = space.pick(DIRECTIONS)
    step = np.array(DIRECTIONS[motion], float)
    axis = int(space.pick(np.flatnonzero(step)))  # along which it comes to the edge
    turn = space.moment(0.33, 0.67)
    room = space.size - look.high() - look.low()
    longest = min(room[axis], 1.5 * space.seconds * turn)
    whole = longest * space.uniform(0.5, 1) / turn  # how far it goes in the clip, along either axis
    facts = speed_facts(space, whole * math.hypot(*step))
    if whole * turn < 2 * MIN_TRAVEL or whole * (1 - turn) > room[axis] or facts is None:
        return []
    across = 1 - axis
    if step[across] and whole > room[across]:
        return []
    touch = _touch(space, look, step, axis, whole, turn)
    back = step.copy()
    back[axis] *= -1
    edge = EDGES[direction_name((step - back) / 2)]
    facts |= {"motion": motion, "then": direction_name(back)}
    facts["event"] = f"bounces off the {edge} edge"
    start, end = touch - whole * turn * step, touch + whole * (1 - turn) * back
    return [act(space, look, [(0, start), (turn, touch), (1, end)], facts)]


def _touch(
    space: Space, look: Look, step: np.ndarray, axis: int, whole: float, turn: float
) -> np.ndarray:
    """Where the centre (x, y) of a shape is when it touches the edge that it bounces off.

    `step`: its direction before. `axis`: along which it comes to the edge. `whole`: how far it goes
    in the clip, along either axis. `turn`: when it touches the edge.
    """
    low, high = look.low(), space.size - look.high()
    touch = np.where(step > 0, high, low)
    across = 1 - axis
    if step[across]:
        origin = (high if step[across] < 0 else low)[across]
        gone = space.uniform(0, (high - low)[across] - whole) + whole * turn
        touch[across] = origin + step[across] * gone
    else:
        touch[across] = space.uniform(low[across], high[across])
    return touch


def leaves(space: Space, looks: Looks) -> list[Actor]:
    """One leaves the picture, or comes in, or leaves and comes back; it is then wholly outside."""
    look = draw_look(space, *looks[0])
    side = space.pick(STRAIGHT)
    step = np.array(DIRECTIONS[side])
    axis = int(abs(step[1]))
    low, high = look.low(), space.size - look.high()
    inside = space.between(low, high)
    edge = (high if step[axis] > 0 else low)[axis]
    inside[axis] = edge - step[axis] * space.uniform(0.12, max(0.13, 0.9 * (high - low)[axis]))
    outside = inside.copy()
    outside[axis] = edge + step[axis] * ((look.low() + look.high())[axis] + 0.03)
    away, plot = np.abs(outside - inside).sum(), space.pick(["out", "in", "both", "both"])
    knots, duration, facts, event = _exit(space, plot, side, inside, outside)
    speed = speed_facts(space, away, duration)
    if speed is None or inside[axis] < low[axis] or inside[axis] > high[axis]:
        return []
    actor = act(space, look, knots, facts | speed | {"event": event})
    return [actor] if _seen_leaving(actor, look, space, plot) else []


def _exit(
    space: Space, plot: str, side: str, inside: np.ndarray, outside: np.ndarray
) -> tuple[list[tuple[float, np.ndarray]], float, Slots, str]:
    """(knots, time of the way between the two points, facts about the motion, event).

    `plot`: "out", "in" or "both". `side`: the direction from `inside` to `outside`.
    """
    if plot == "both":
        gone, back = space.uniform(0.3, 0.42), space.uniform(0.55, 0.65)
        knots = [(0.0, inside), (gone, outside), (back, outside), (back + gone, inside)]
        event = f"leaves at the {EDGES[side]} and comes back"
        return knots, gone, {"motion": side, "then": OPPOSITE[side]}, event
    if plot == "out":
        duration = space.uniform(0.5, 0.8)
        knots = [(0.0, inside), (duration, outside)]
        return knots, duration, {"motion": side}, f"leaves at the {EDGES[side]}"
    start = space.uniform(0.15, 0.4)
    knots = [(start, outside), (1.0, inside)]
    return knots, 1 - start, {"motion": OPPOSITE[side]}, f"enters from the {EDGES[side]}"


def _seen_leaving(actor: Actor, look: Look, space: Space, plot: str) -> bool:
    """Whether a frame is without the shape, and two frames before and after show it whole."""
    whole = ((actor.centres >= look.low()) & (actor.centres <= space.size - look.high())).all(1)
    outside = (actor.centres < -look.high()) | (actor.centres > space.size + look.low())
    gone = np.flatnonzero(outside.any(1))
    if not len(gone):
        return False
    before, after = whole[: gone[0]].sum(), whole[gone[-1] :].sum()
    return bool((plot == "in" or before >= 2) and (plot == "out" or after >= 2))


def passes(space: Space, looks: Looks) -> list[Actor]:
    """One crosses another that stays still, behind it or in front of it."""
    other = draw_look(space, *looks[1])
    mover = draw_look(space, *looks[0], sizes=["small", "medium"])
    motion = space.pick(STRAIGHT)
    step = np.array(DIRECTIONS[motion])
    axis = int(abs(step[1]))
    lows, highs = np.maximum(other.low(), mover.low()), np.maximum(other.high(), mover.high())
    rest = space.between(lows, space.size - highs)
    gap = (other.low() + other.high() + mover.low() + mover.high())[axis] / 2 + GAP
    need = gap + max(mover.low()[axis], mover.high()[axis])
    spare = space.size[axis] - 2 * need
    if spare < 0:
        return []
    rest[axis] = need + space.uniform(0, spare)
    ahead = gap + space.uniform(0, min(rest[axis], space.size[axis] - rest[axis]) - need)
    facts = speed_facts(space, 2 * ahead)
    if facts is None or not space.is_clear(rest):
        return []
    behind = space.rng.random() < 0.6
    resting = act(space, other, [(0, rest)], {"motion": "still"})
    facts |= {"motion": motion, "event": "passes behind" if behind else "passes in front of"}
    facts["other"] = "1" if behind else "0"
    moving = act(space, mover, [(0, rest - ahead * step), (1, rest + ahead * step)], facts)
    if np.abs(moving.centres - resting.centres).sum(1).min() > 0.6 * other.radius:
        return []  # no frame shows them close enough to each other
    return [moving, resting] if behind else [resting, moving]


def collide(space: Space, looks: Looks) -> list[Actor]:
    """Two come together along a horizontal or vertical line and bounce off each other."""
    one, other = (draw_look(space, *look, sizes=["small", "medium"]) for look in looks[:2])
    axis = space.pick([0, 1, int(space.size[1] > space.size[0])])
    turn = space.moment(0.38, 0.62)
    widths = [(look.low() + look.high())[axis] for look in (one, other)]
    apart = (space.size[axis] - sum(widths)) * space.uniform(0.6, 0.98)
    travel = min(apart / 2, 1.5 * space.seconds * turn)
    travel = min(travel, travel * turn / (1 - turn))
    facts = speed_facts(space, travel, turn)
    if travel < MIN_TRAVEL * 1.2 or facts is None:
        return []
    lows, highs = np.maximum(one.low(), other.low()), np.maximum(one.high(), other.high())
    touch = space.between(lows, space.size - highs)
    most = max(travel, travel * (1 - turn) / turn)
    touch[axis] = space.uniform(most + widths[0], space.size[axis] - most - widths[1])
    return [
        _collider(space, look, way, axis, turn, touch, travel, facts | {"other": str(1 - i)})
        for i, (look, way) in enumerate([(one, 1), (other, -1)])
    ]


def _collider(
    space: Space,
    look: Look,
    way: int,
    axis: int,
    turn: float,
    touch: np.ndarray,
    travel: float,
    facts: Slots,
) -> Actor:
    """One of two that collide: it goes `travel` along the axis, until the time `turn`, and back.

    `way`: 1 if it comes from the left or from above, -1 if not. `touch`: where they meet (x, y).
    """
    step = np.zeros(2)
    step[axis] = way
    point = touch.copy()
    point[axis] -= look.high()[axis] if way > 0 else -look.low()[axis]
    back = travel * (1 - turn) / turn
    knots = [(0, point - travel * step), (turn, point), (1, point - back * step)]
    motions = {"motion": direction_name(step), "then": direction_name(-step)}
    return act(space, look, knots, motions | facts | {"event": "collides with"})
