"""What one or two sprites do together: each plot is drawn by chance so that it can be seen.

A plot gives its actors from back to front, or none where chance or the space did not allow it.
"""

import math

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

MIN_TRAVEL = 0.07
GAP = 0.02  # between two shapes before one passes the other
CIRCLE_FRAMES = 8


def still(space: Space, look: Look) -> Actor:
    point = space.rest(look.low(), space.size - look.high())
    facts = {"motion": "still"} if space.frames > 1 else {}
    return act(space, look, [(0, point)], facts)


def _straight(space: Space, look: Look) -> Actor | None:
    """Moves one way, inside the picture all the time."""
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
    """Goes round by three quarters of a circle or more, not more than a sixth of it a frame."""
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
    """Some motion without an event."""
    if space.frames == 1:
        return still(space, look)
    return space.pick([still, _straight, _straight, _straight, _circling])(space, look)


def alone(space: Space, looks: list) -> list[Actor]:
    actor = free(space, draw_look(space, *looks[0]))
    return [actor] if actor else []


def bounces(space: Space, looks: list) -> list[Actor]:
    """Goes to an edge of the picture, straight or askew, and back."""
    look = draw_look(space, *looks[0])
    motion = space.pick(DIRECTIONS)
    step = np.array(DIRECTIONS[motion], float)
    axis = space.pick(np.flatnonzero(step))  # of the edge's normal
    turn = space.moment(0.33, 0.67)
    low, high = look.low(), space.size - look.high()
    room = high - low
    longest = min(room[axis], 1.5 * space.seconds * turn)
    whole = longest * space.uniform(0.5, 1) / turn  # over the clip, along either axis
    facts = speed_facts(space, whole * math.hypot(*step))
    if whole * turn < 2 * MIN_TRAVEL or whole * (1 - turn) > room[axis] or facts is None:
        return []
    across = 1 - axis
    if step[across] and whole > room[across]:
        return []
    touch = np.where(step > 0, high, low)
    if step[across]:
        origin = (high if step[across] < 0 else low)[across]
        gone = space.uniform(0, room[across] - whole) + whole * turn
        touch[across] = origin + step[across] * gone
    else:
        touch[across] = space.uniform(low[across], high[across])
    back = step.copy()
    back[axis] *= -1
    edge = EDGES[direction_name((step - back) / 2)]
    facts |= {"motion": motion, "then": direction_name(back)}
    facts["event"] = f"bounces off the {edge} edge"
    start, end = touch - whole * turn * step, touch + whole * (1 - turn) * back
    knots = [(0, start), (turn, touch), (1, end)]
    return [act(space, look, knots, facts)]


def leaves(space: Space, looks: list) -> list[Actor]:
    """Leaves the picture, or comes in, or leaves and comes back; all of it goes out."""
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
    if plot == "both":
        gone, back = space.uniform(0.3, 0.42), space.uniform(0.55, 0.65)
        knots = [(0, inside), (gone, outside), (back, outside), (back + gone, inside)]
        facts = {"motion": side, "then": OPPOSITE[side]}
        event, duration = f"leaves at the {EDGES[side]} and comes back", gone
    elif plot == "out":
        duration = space.uniform(0.5, 0.8)
        knots = [(0, inside), (duration, outside)]
        facts, event = {"motion": side}, f"leaves at the {EDGES[side]}"
    else:
        start = space.uniform(0.15, 0.4)
        duration = 1 - start
        knots = [(start, outside), (1, inside)]
        facts = {"motion": OPPOSITE[side]}
        event = f"enters from the {EDGES[side]}"
    speed = speed_facts(space, away, duration)
    if speed is None or inside[axis] < low[axis] or inside[axis] > high[axis]:
        return []
    actor = act(space, look, knots, facts | speed | {"event": event})
    return [actor] if _seen_leaving(actor, look, space, plot) else []


def _seen_leaving(actor: Actor, look: Look, space: Space, plot: str) -> bool:
    """Whether frames show it whole at least twice before and after, and a frame is without it."""
    whole = ((actor.centres >= look.low()) & (actor.centres <= space.size - look.high())).all(1)
    gone = (actor.centres < -look.high()) | (actor.centres > space.size + look.low())
    gone = np.flatnonzero(gone.any(1))
    if not len(gone):
        return False
    before, after = whole[: gone[0]].sum(), whole[gone[-1] :].sum()
    return (plot == "in" or before >= 2) and (plot == "out" or after >= 2)


def passes(space: Space, looks: list) -> list[Actor]:
    """One crosses another that stays still, behind it or in front of it."""
    other, mover = draw_look(space, *looks[1]), draw_look(space, *looks[0], ["small", "medium"])
    motion = space.pick(STRAIGHT)
    step = np.array(DIRECTIONS[motion])
    axis = int(abs(step[1]))
    lows, highs = np.maximum(other.low(), mover.low()), np.maximum(other.high(), mover.high())
    room = space.between(lows, space.size - highs)
    gap = (other.low() + other.high() + mover.low() + mover.high())[axis] / 2 + GAP
    need = gap + max(mover.low()[axis], mover.high()[axis])
    spare = space.size[axis] - 2 * need
    if spare < 0:
        return []
    room[axis] = need + space.uniform(0, spare)
    ahead = gap + space.uniform(0, min(room[axis], space.size[axis] - room[axis]) - need)
    facts = speed_facts(space, 2 * ahead)
    if facts is None or not space.is_clear(room):
        return []
    behind = space.rng.random() < 0.6
    knots = [(0, room - ahead * step), (1, room + ahead * step)]
    resting = act(space, other, [(0, room)], {"motion": "still"})
    facts |= {"motion": motion, "event": "passes behind" if behind else "passes in front of"}
    moving = act(space, mover, knots, facts | {"other": "1" if behind else "0"})
    near = np.abs(moving.centres - resting.centres).sum(1)
    if near.min() > 0.6 * other.radius:
        return []
    return [moving, resting] if behind else [resting, moving]


def collide(space: Space, looks: list) -> list[Actor]:
    """Two come together along a line and bounce off each other."""
    one, other = (draw_look(space, *look, ["small", "medium"]) for look in looks[:2])
    axis = space.pick([0, 1, int(space.size[1] > space.size[0])])
    turn = space.moment(0.38, 0.62)
    widths = [(look.low() + look.high())[axis] for look in (one, other)]
    free = space.size[axis] - sum(widths)
    apart = free * space.uniform(0.6, 0.98)
    travel = min(apart / 2, 1.5 * space.seconds * turn)
    travel = min(travel, travel * turn / (1 - turn))
    facts = speed_facts(space, travel, turn)
    if travel < MIN_TRAVEL * 1.2 or facts is None:
        return []
    lows, highs = np.maximum(one.low(), other.low()), np.maximum(one.high(), other.high())
    line = space.between(lows, space.size - highs)
    back = travel * (1 - turn) / turn
    most = max(travel, back)
    touch = space.uniform(most + widths[0], space.size[axis] - most - widths[1])
    actors = []
    for i, (look, way) in enumerate([(one, 1), (other, -1)]):
        step = np.zeros(2)
        step[axis] = way
        point = line.copy()
        point[axis] = touch - (look.high()[axis] if way > 0 else -look.low()[axis])
        knots = [(0, point - travel * step), (turn, point), (1, point - back * step)]
        told = {"motion": direction_name(step), "then": direction_name(-step)}
        told |= facts | {"event": "collides with", "other": str(1 - i)}
        actors.append(act(space, look, knots, told))
    return actors
