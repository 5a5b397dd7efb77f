"""What happens in a clip of sprites: who moves how, drawn by chance so that it can be seen.

Lengths are in units of the shorter side of the picture, times in parts of the clip: at another
resolution of one aspect a seed gives the same scene. No two shapes share a colour; shapes meet,
overlap or leave the picture only where a fact says so.
"""

import math
from typing import NamedTuple

import numpy as np

from videodit.worlds.sprites_drawing import BACKGROUNDS, COLORS, OUTLINES, Background, extent
from videodit.worlds.world import Shape, Slots

HELD_OUT = {  # colour, kind
    ("red", "star"),
    ("orange", "diamond"),
    ("yellow", "cross"),
    ("green", "ring"),
    ("cyan", "circle"),
    ("blue", "triangle"),
    ("purple", "square"),
    ("pink", "star"),
}
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
MIN_TRAVEL = 0.07
MARGIN = 0.04  # between shapes that do not meet
EVENT_FRAMES = 7  # fewer cannot show what was before and after
MIN_EVENT_SECONDS = 0.25
STROKE_FRAMES = 4
CIRCLE_FRAMES = 8
TRIES = 12
ROLES, COUNTS = "abc", ("one", "two", "three")
COLUMNS, ROWS = ("left", "", "right"), ("top", "", "bottom")
THIRD = 0.41  # of the picture: a side ends, the middle begins
DOUBTFUL = 0.03  # from there: nothing rests so near to it


class Actor(NamedTuple):
    """A shape and where it is."""

    color: str
    kind: str
    size: str
    radius: float
    centres: np.ndarray  # T 2: x, y
    facts: Slots  # motion, speed, event, then, other (index of another actor)


class Line(NamedTuple):
    """A stroke and how it grows."""

    color: str
    half_width: float
    start: tuple[float, float]
    end: tuple[float, float]
    tips: np.ndarray  # T 2: x, y; not a number until it begins
    facts: Slots


class Scene(NamedTuple):
    """All that happens in a clip."""

    background: Background
    lines: list[Line]
    actors: list[Actor]  # later ones lie in front


class _Stage:
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


class _Look(NamedTuple):
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

    def reach(self) -> float:
        return self.radius * max(extent(self.kind))


def draw_scene(rng: np.random.Generator, shape: Shape, held_out: bool) -> Scene:
    """A scene in which one shape, with `held_out`, has a held-out pair of colour and kind."""
    stage = _Stage(rng, shape)
    background = _background(stage)
    colors = rng.permutation(list(COLORS)).tolist()
    kinds = [_kind(stage, color, held_out and i == 0) for i, color in enumerate(colors)]
    looks = list(zip(colors, kinds))
    wanted = 1 + int(3 * rng.random())
    plots = [_alone]
    if stage.eventful:
        plots = [_alone, _alone, _bounces, _bounces, _leaves, _leaves, _passes, _passes, _collide]
    plot = stage.pick(plots)
    lines, actors = [], []
    for _ in range(TRIES):
        actors = plot(stage, looks)
        if actors:
            break
    if not actors:
        actors = [_still(stage, _look(stage, *looks[0], ["small"]))]
    lines = _paint(stage, colors[4:], actors)
    for look in looks[len(actors) : max(wanted, len(actors))]:
        actors += _join(stage, look, actors, lines)
    return Scene(background, lines, actors)


def place(x: float, y: float) -> str:
    """Where in the picture (0 to 1 each way) that is: "left", "top right", "center", ..."""
    row, column = (
        names[int(value > THIRD) + int(value > 1 - THIRD)]
        for value, names in ((y, ROWS), (x, COLUMNS))
    )
    return f"{row} {column}".strip() or "center"


def _background(stage: _Stage) -> Background:
    colors = stage.rng.permutation(list(BACKGROUNDS)).tolist()
    if stage.rng.random() < 0.6:
        return Background((colors[0],))
    border = round(stage.uniform(0.4, 0.6), 2)
    return Background(tuple(colors[:2]), border, stage.pick(["across", "down"]))


def _kind(stage: _Stage, color: str, held_out: bool) -> str:
    return stage.pick(kind for kind in OUTLINES if ((color, kind) in HELD_OUT) == held_out)


def _look(stage: _Stage, color: str, kind: str, sizes=tuple(SIZES)) -> _Look:
    size = stage.pick(sizes)
    return _Look(color, kind, size, round(stage.uniform(*SIZES[size]), 4))


def _actor(stage: _Stage, look: _Look, knots: list, facts: Slots) -> Actor:
    """`knots`: (time, (x, y)); between them the shape moves steadily."""
    times, points = [time for time, _ in knots], np.array([point for _, point in knots])
    centres = np.stack([np.interp(stage.times, times, points[:, k]) for k in (0, 1)], axis=1)
    return Actor(*look, centres, facts)


def _speed(stage: _Stage, distance: float, duration: float = 1.0) -> Slots | None:
    """The fact about a speed; None if it is too fast, or neither clearly slow, fast nor between."""
    speed = distance / (duration * stage.seconds)
    if speed > MAX_SPEED or any(abs(speed / s - 1) < DOUBT for s in (SLOW, FAST)):
        return None
    return {"speed": "slow" if speed < SLOW else "fast" if speed > FAST else "medium"}


def _still(stage: _Stage, look: _Look) -> Actor:
    point = stage.rest(look.low(), stage.size - look.high())
    facts = {"motion": "still"} if stage.frames > 1 else {}
    return _actor(stage, look, [(0, point)], facts)


def _straight(stage: _Stage, look: _Look) -> Actor | None:
    """Moves one way, inside the picture all the time."""
    motion = stage.pick(DIRECTIONS)
    step = np.array(DIRECTIONS[motion])
    low, high = look.low(), stage.size - look.high()
    room = min((high - low)[step != 0])
    norm = math.hypot(*step)
    longest = min(room, stage.uniform(0.7, 1) * MAX_SPEED * stage.seconds / norm)
    travel = max(longest * stage.uniform(0.35, 1), MIN_TRAVEL)
    facts = _speed(stage, travel * norm)
    if facts is None or travel > room:
        return None
    start = stage.between(low + travel * (step < 0), high - travel * (step > 0))
    knots = [(0, start), (1, start + travel * step)]
    return _actor(stage, look, knots, {"motion": motion} | facts)


def _circling(stage: _Stage, look: _Look) -> Actor | None:
    """Goes round by three quarters of a circle or more, not more than a sixth of it a frame."""
    room = min(stage.size - look.low() - look.high()) / 2
    ring = stage.uniform(0.12, max(0.13, min(room, 0.35)))
    turns = stage.uniform(0.8, min(3, max(0.9, stage.seconds / 2)))
    facts = _speed(stage, 2 * math.pi * ring * turns)
    few = stage.frames < CIRCLE_FRAMES or turns > (stage.frames - 1) / 6
    if few or ring > room or facts is None:
        return None
    centre = stage.between(look.low() + ring, stage.size - look.high() - ring)
    motion = stage.pick(["clockwise", "counterclockwise"])
    way = 1 if motion == "clockwise" else -1  # y points down
    angles = 2 * math.pi * (stage.uniform(0, 1) + way * turns * stage.times)
    centres = centre + ring * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return Actor(*look, centres, {"motion": motion} | facts)


def _free(stage: _Stage, look: _Look) -> Actor | None:
    """Some motion without an event."""
    if stage.frames == 1:
        return _still(stage, look)
    return stage.pick([_still, _straight, _straight, _straight, _circling])(stage, look)


def _alone(stage: _Stage, looks: list) -> list[Actor]:
    actor = _free(stage, _look(stage, *looks[0]))
    return [actor] if actor else []


def _bounces(stage: _Stage, looks: list) -> list[Actor]:
    """Goes to an edge of the picture, straight or askew, and back."""
    look = _look(stage, *looks[0])
    motion = stage.pick(DIRECTIONS)
    step = np.array(DIRECTIONS[motion], float)
    axis = stage.pick(np.flatnonzero(step))  # of the edge's normal
    turn = stage.uniform(0.35, 0.65)
    low, high = look.low(), stage.size - look.high()
    room = high - low
    longest = min(room[axis], 1.5 * stage.seconds * turn)
    whole = longest * stage.uniform(0.5, 1) / turn  # over the clip, along either axis
    facts = _speed(stage, whole * math.hypot(*step))
    if whole * turn < 2 * MIN_TRAVEL or whole * (1 - turn) > room[axis] or facts is None:
        return []
    across = 1 - axis
    if step[across] and whole > room[across]:
        return []
    touch = np.where(step > 0, high, low)
    if step[across]:
        origin = (high if step[across] < 0 else low)[across]
        gone = stage.uniform(0, room[across] - whole) + whole * turn
        touch[across] = origin + step[across] * gone
    else:
        touch[across] = stage.uniform(low[across], high[across])
    back = step.copy()
    back[axis] *= -1
    edge = EDGES[_name(np.where(np.arange(2) == axis, step, 0))]
    facts |= {"motion": motion, "event": f"bounces off the {edge} edge", "then": _name(back)}
    start, end = touch - whole * turn * step, touch + whole * (1 - turn) * back
    knots = [(0, start), (turn, touch), (1, end)]
    return [_actor(stage, look, knots, facts)]


def _name(step: np.ndarray) -> str:
    """The direction of a step (x, y)."""
    return next(name for name, way in DIRECTIONS.items() if tuple(np.sign(step)) == way)


def _leaves(stage: _Stage, looks: list) -> list[Actor]:
    """Leaves the picture, or comes in, or leaves and comes back; all of it goes out."""
    look = _look(stage, *looks[0])
    side = stage.pick(STRAIGHT)
    step = np.array(DIRECTIONS[side])
    axis = int(abs(step[1]))
    low, high = look.low(), stage.size - look.high()
    inside = stage.between(low, high)
    edge = (high if step[axis] > 0 else low)[axis]
    inside[axis] = edge - step[axis] * stage.uniform(0.12, max(0.13, 0.9 * (high - low)[axis]))
    outside = inside.copy()
    outside[axis] = edge + step[axis] * ((look.low() + look.high())[axis] + 0.03)
    away, plot = np.abs(outside - inside).sum(), stage.pick(["out", "in", "both", "both"])
    if plot == "both":
        gone, back = stage.uniform(0.3, 0.42), stage.uniform(0.55, 0.65)
        knots = [(0, inside), (gone, outside), (back, outside), (back + gone, inside)]
        facts = {"motion": side, "then": OPPOSITE[side]}
        event, duration = f"leaves at the {EDGES[side]} and comes back", gone
    elif plot == "out":
        duration = stage.uniform(0.5, 0.8)
        knots = [(0, inside), (duration, outside)]
        facts, event = {"motion": side}, f"leaves at the {EDGES[side]}"
    else:
        start = stage.uniform(0.15, 0.4)
        duration = 1 - start
        knots = [(start, outside), (1, inside)]
        facts = {"motion": OPPOSITE[side]}
        event = f"enters from the {EDGES[side]}"
    speed = _speed(stage, away, duration)
    if speed is None or inside[axis] < low[axis] or inside[axis] > high[axis]:
        return []
    actor = _actor(stage, look, knots, facts | speed | {"event": event})
    return [actor] if _seen_leaving(actor, look, stage, plot) else []


def _seen_leaving(actor: Actor, look: _Look, stage: _Stage, plot: str) -> bool:
    """Whether frames show it whole at least twice before and after, and a frame is without it."""
    whole = ((actor.centres >= look.low()) & (actor.centres <= stage.size - look.high())).all(1)
    gone = (actor.centres < -look.high()) | (actor.centres > stage.size + look.low())
    gone = np.flatnonzero(gone.any(1))
    if not len(gone):
        return False
    before, after = whole[: gone[0]].sum(), whole[gone[-1] :].sum()
    return (plot == "in" or before >= 2) and (plot == "out" or after >= 2)


def _passes(stage: _Stage, looks: list) -> list[Actor]:
    """One crosses another that stays still, behind it or in front of it."""
    still, mover = _look(stage, *looks[1]), _look(stage, *looks[0], ["small", "medium"])
    motion = stage.pick(STRAIGHT)
    step = np.array(DIRECTIONS[motion])
    axis = int(abs(step[1]))
    lows, highs = np.maximum(still.low(), mover.low()), np.maximum(still.high(), mover.high())
    room = stage.between(lows, stage.size - highs)
    gap = (still.low() + still.high() + mover.low() + mover.high())[axis] / 2 + MARGIN / 2
    need = gap + max(mover.low()[axis], mover.high()[axis])
    spare = stage.size[axis] - 2 * need
    if spare < 0:
        return []
    room[axis] = need + stage.uniform(0, spare)
    ahead = gap + stage.uniform(0, min(room[axis], stage.size[axis] - room[axis]) - need)
    facts = _speed(stage, 2 * ahead)
    if facts is None or not stage.is_clear(room):
        return []
    behind = stage.rng.random() < 0.6
    knots = [(0, room - ahead * step), (1, room + ahead * step)]
    resting = _actor(stage, still, [(0, room)], {"motion": "still"})
    facts |= {"motion": motion, "event": "passes behind" if behind else "passes in front of"}
    moving = _actor(stage, mover, knots, facts | {"other": "1" if behind else "0"})
    near = np.abs(moving.centres - resting.centres).sum(1)
    if near.min() > 0.6 * still.radius:
        return []
    return [moving, resting] if behind else [resting, moving]


def _collide(stage: _Stage, looks: list) -> list[Actor]:
    """Two come together along a line and bounce off each other."""
    one, other = (_look(stage, *look, ["small", "medium"]) for look in looks[:2])
    axis = stage.pick([0, 1, int(stage.size[1] > stage.size[0])])
    turn = stage.uniform(0.38, 0.62)
    widths = [(look.low() + look.high())[axis] for look in (one, other)]
    free = stage.size[axis] - sum(widths)
    apart = free * stage.uniform(0.6, 0.98)
    travel = min(apart / 2, 1.5 * stage.seconds * turn)
    travel = min(travel, travel * turn / (1 - turn))
    facts = _speed(stage, travel, turn)
    if travel < MIN_TRAVEL * 1.2 or facts is None:
        return []
    lows, highs = np.maximum(one.low(), other.low()), np.maximum(one.high(), other.high())
    line = stage.between(lows, stage.size - highs)
    back = travel * (1 - turn) / turn
    most = max(travel, back)
    touch = stage.uniform(most + widths[0], stage.size[axis] - most - widths[1])
    actors = []
    for i, (look, way) in enumerate([(one, 1), (other, -1)]):
        step = np.zeros(2)
        step[axis] = way
        point = line.copy()
        point[axis] = touch - (look.high()[axis] if way > 0 else -look.low()[axis])
        knots = [(0, point - travel * step), (turn, point), (1, point - back * step)]
        told = {"motion": _name(step), "event": "collides with", "then": _name(-step)}
        actors.append(_actor(stage, look, knots, told | facts | {"other": str(1 - i)}))
    return actors


def _join(stage: _Stage, look: tuple, actors: list[Actor], lines: list[Line]) -> list[Actor]:
    """One more actor that keeps clear of all others, if there is room for it."""
    for _ in range(TRIES):
        actor = _free(stage, _look(stage, *look, ["small", "medium"]))
        if actor and _clear(actor, actors, lines):
            return [actor]
    return []


def _clear(actor: Actor, actors: list[Actor], lines: list[Line]) -> bool:
    reach = actor.radius * max(extent(actor.kind)) + MARGIN
    for other in actors:
        gap = np.sqrt(((actor.centres - other.centres) ** 2).sum(1))
        if gap.min() < reach + other.radius * max(extent(other.kind)):
            return False
    return all(_beside(line, actor.centres).min() > reach + line.half_width for line in lines)


def _beside(line: Line, points: np.ndarray) -> np.ndarray:
    """Distances of points from a line's middle."""
    corners = np.sort(np.array([line.start, line.end]), axis=0)
    return np.sqrt(((points - np.clip(points, *corners)) ** 2).sum(1))


def _paint(stage: _Stage, colors: list[str], actors: list[Actor]) -> list[Line]:
    """Up to two strokes, one after the other, where no actor goes."""
    if stage.rng.random() > 0.35:
        return []
    count = 2 if stage.eventful and stage.rng.random() < 0.4 else 1
    spans = [(0.05, 0.95)] if count == 1 else [(0.0, 0.45), (0.52, 0.97)]
    lines = []
    for color, span in zip(colors, spans):
        for _ in range(TRIES):
            line = _line(stage, color, span)
            apart = all(_gap(line, other) > MARGIN for other in lines)
            if apart and all(_clear(actor, [], [line]) for actor in actors):
                lines.append(line)
                break
        else:
            break
    return lines


def _line(stage: _Stage, color: str, span: tuple[float, float]) -> Line:
    way = stage.pick(STRAIGHT)
    step = np.array(DIRECTIONS[way])
    axis, half = int(abs(step[1])), stage.uniform(0.05, 0.07)
    edge = half + 0.02
    length = stage.uniform(0.5, 0.95) * min(stage.size[axis] - 2 * edge, 1.2)
    low = np.full(2, edge)
    high = stage.size - edge
    start = stage.between(low + length * (step < 0), high - length * (step > 0))
    end = start + length * step
    facts = {"line": "horizontal" if axis == 0 else "vertical"}
    if stage.frames < STROKE_FRAMES:
        tips = np.broadcast_to(end, (stage.frames, 2))
    else:
        done = np.interp(stage.times, span, [0.0, 1.0])[:, None]
        tips = np.where(stage.times[:, None] < span[0], np.nan, start + done * (end - start))
        facts["way"] = way
    return Line(color, half, tuple(start), tuple(end), tips, facts)


def _gap(one: Line, other: Line) -> float:
    """Between two level or upright lines: how far the boxes around them are apart."""
    boxes = [np.sort(np.array([line.start, line.end]), axis=0) for line in (one, other)]
    apart = np.maximum(boxes[0][0] - boxes[1][1], boxes[1][0] - boxes[0][1])
    return float(apart.max()) - one.half_width - other.half_width
