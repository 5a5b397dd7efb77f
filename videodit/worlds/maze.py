"""Maze: first person in ViZDoom, in a hall with things, a door, and a room behind it.

The map is written for each clip. Who sees it walks, turns, looks away and back, or opens the door.
Pictures are drawn at 400 x 225 or 400 x 300 pixels, cut to the aspect in the middle and averaged
over areas. The simulation runs at 35 tics a second: frame k shows the tic before k / fps seconds.
Equal seeds give equal frames.

"seen" clips never show the colours and kinds of HELD_OUT together.
"""

import contextlib
import math
import os
import tempfile
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import vizdoom
from vizdoom import Button, DoomGame, GameVariable

from videodit.worlds import maze_captions as captions
from videodit.worlds.grids import event_slots, resized
from videodit.worlds.maze_map import LENGTH, PLAYER, WIDTH, Look, Thing, write_map
from videodit.worlds.world import Clip, Detection, Shape, Slots, check_combinations

TICS_PER_SECOND = 35
VIEW = math.tan(math.radians(45))  # half the width of what is seen at distance 1, at 4:3
WALLS = {
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
THINGS = {
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
NAMES = {  # ViZDoom's for them
    "RedTorch": ("red", "torch"),
    "GreenTorch": ("green", "torch"),
    "BlueTorch": ("blue", "torch"),
    "TallRedColumn": ("red", "pillar"),
    "TallGreenColumn": ("green", "pillar"),
    "Stalagtite": ("green", "tree"),
    "BigTree": ("brown", "tree"),
    "TechLamp": ("grey", "lamp"),
    "ExplosiveBarrel": ("grey", "barrel"),
}
HELD_OUT = (("green", "torch"), ("red", "pillar"))
WAKING = 20  # tics: at first the player does not obey
START = 160.0  # units from the wall behind the player
EXACT = 360 / 1024  # degrees: turns by multiples of it there and back cancel out
MOST = 3  # things in front of the player at first
AISLE = 72  # units to either side of the way to the door where nothing stands
APART = math.radians(8)  # between two things, as the player sees them
REACH = 48  # units from the door at which it is opened
MOVED, TURNED = 2.0, 0.5  # units, degrees: less from frame to frame is standing
PROGRAMS = ("walk", "back off", "turn", "look away", "walk and turn", "open", "stand")


class Plan(NamedTuple):
    """All that is decided before the clip is drawn."""

    start: float  # x of the player
    things: list[tuple[tuple[str, str], float, float]]  # (colour, kind), x, y
    walls: tuple[str, str]  # of the hall, of the room behind it
    floors: tuple[str, str]
    program: str
    side: int  # -1 is to the left
    angle: float  # degrees of a turn
    distance: float  # units of a walk
    tics: int


class Maze:
    """See above."""

    name = "maze"

    def make(self, seed: int, shape: Shape, combinations: str = "seen") -> Clip:
        """See World. The same aspect, rate and length at another size shows the same."""
        check_combinations(combinations)
        rng = np.random.default_rng((seed, combinations == "held_out"))
        aspect = shape.width / shape.height
        shown = [int(k / shape.fps * TICS_PER_SECOND + 1e-6) for k in range(shape.frames)]
        states = [{"things": []}]
        while not states[0]["things"]:
            plan = _plan(rng, aspect, shown[-1], combinations)
            if plan.things:
                pictures, states = _play(plan, shown, aspect)
        frames = np.stack([resized(picture, shape.width, shape.height) for picture in pictures])
        slots = {"walls": plan.walls[0], "floor": plan.floors[0], **facts(states)}
        short, long = (captions.write(kind, slots, rng) for kind in ("short", "long"))
        return Clip(frames, shape.fps, states, short, long, slots)

    def parse(self, text: str) -> Slots:
        """See World."""
        return captions.read(text)

    def detect(self, frames: np.ndarray, fps: float) -> dict[str, Detection]:
        """See World."""
        from videodit.worlds import maze_detector  # which stands on this file

        return maze_detector.detect(frames)


def facts(states: list[dict]) -> Slots:
    """What is seen at first, what the player does, and what is lost from view and found again."""
    slots = {}
    for k, one in enumerate(states[0]["things"], 1):
        place = ("left", "middle", "right")[int(3 * min(one["x"], 0.999))]
        slots |= {f"t{k}.color": one["color"], f"t{k}.kind": one["kind"], f"t{k}.place": place}
    slots["things"] = captions.COUNTS[len(states[0]["things"])]
    if len(states) > 1:
        slots |= event_slots(events(states)) | _lost(states)
    return slots


def still(wall: str, floor: str, things: Sequence = (), aspect: float = 4 / 3) -> tuple:
    """(picture uint8 H W 3, state) as clips begin; `things`: ((colour, kind), x, y)."""
    plan = Plan(START, list(things), (wall, wall), (floor, floor), "stand", 1, 0.0, 0.0, 0)
    pictures, states = _play(plan, [0], aspect)
    return pictures[0], states[0]


def events(states: list[dict]) -> list[Slots]:
    """What the player does, in order, from the angles, places and door of the states."""
    done: list[Slots] = []
    for before, after in pairwise(states):
        turn = (after["angle"] - before["angle"] + 180) % 360 - 180
        ahead = math.radians(before["angle"])
        step = (after["x"] - before["x"]) * math.cos(ahead)
        step += (after["y"] - before["y"]) * math.sin(ahead)
        now = []
        if after["door"] > before["door"] == 0:
            now.append({"verb": "open"})
        if abs(turn) > TURNED:
            now.append({"verb": "turn", "side": "left" if turn > 0 else "right"})
        elif abs(step) > MOVED:
            now.append({"verb": "walk" if step > 0 else "back off"})
        done += [event for event in now if event not in done[-1:]]
    return done or [{"verb": "stand"}]


def _lost(states: list[dict]) -> Slots:
    """The first thing that leaves the view of who only turns, and whether it comes back."""
    turned = [s for s in states if abs(s["x"] - states[0]["x"]) < MOVED]
    for one in states[0]["things"]:
        name = (one["color"], one["kind"])
        seen = [any((t["color"], t["kind"]) == name for t in s["things"]) for s in turned]
        if not all(seen):
            back = "yes" if seen[-1] and len(turned) == len(states) else "no"
            if back == "yes" or not seen[-1]:
                return {"lost.color": name[0], "lost.kind": name[1], "lost.back": back}
    return {}


def _plan(rng: np.random.Generator, aspect: float, tics: int, combinations: str) -> Plan:
    possible = PROGRAMS if tics >= 40 else PROGRAMS[:5] if tics >= 12 else PROGRAMS[:3]
    program = str(rng.choice(possible))
    distance = float(min(rng.uniform(60, 260), 6 * tics))
    starts = {"open": LENGTH - REACH - min(distance, 1.5 * tics), "back off": START + distance}
    start = starts.get(program, START)
    pairs = [pair for pair in THINGS if pair not in HELD_OUT]
    pairs = [pairs[k] for k in rng.permutation(len(pairs))[: rng.integers(1, MOST + 1)]]
    if combinations == "held_out":
        pairs[0] = HELD_OUT[rng.integers(len(HELD_OUT))]
    walls = [str(name) for name in rng.permutation(list(WALLS))[:2]]
    floors = [str(name) for name in rng.permutation(list(FLOORS))[:2]]
    return Plan(
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


def _placed(rng: np.random.Generator, pairs, start: float, aspect: float) -> list:
    """Things in view of the start, none before another, none in the aisle."""
    half = math.atan(VIEW * min(aspect / (4 / 3), 4 / 3))
    placed = []
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


def _play(plan: Plan, shown: list[int], aspect: float) -> tuple[list[np.ndarray], list[dict]]:
    """The pictures (cut to the aspect) and states of the tics that are shown."""
    with tempfile.TemporaryDirectory() as folder:
        game, tics = _game(folder, plan, aspect), []
        try:
            door, steering, visible = 0, _steer(game, plan), set(shown)
            for tic in range(shown[-1] + 1):
                if tic in visible:
                    tics.append((tic, *_seen(game, plan, door, aspect)))
                action = next(steering)
                game.set_action(action)
                game.advance_action(1, tic + 1 in visible or plan.program == "open")
                door += bool(door or action[2])
        finally:
            game.close()
    known = {tic: (picture, state) for tic, picture, state in tics}
    return tuple(zip(*(known[tic] for tic in shown)))


def _game(folder: str, plan: Plan, aspect: float) -> DoomGame:
    map_file = os.path.join(folder, "hall.wad")
    hall, beyond = (Look(WALLS[w], FLOORS[f]) for w, f in zip(plan.walls, plan.floors))
    things = [Thing(THINGS[pair], x, y) for pair, x, y in plan.things]
    things.append(Thing(PLAYER, plan.start, 0))
    write_map(map_file, hall, beyond, things, _door_tics(plan))
    game = DoomGame()
    game.set_doom_scenario_path(map_file)
    game.set_doom_config_path(os.path.join(folder, "engine.ini"))
    game.set_doom_map("MAP01")
    game.set_window_visible(False)
    wide = aspect > 4 / 3
    resolution = vizdoom.ScreenResolution
    game.set_screen_resolution(resolution.RES_400X225 if wide else resolution.RES_400X300)
    game.set_screen_format(vizdoom.ScreenFormat.RGB24)
    for part in ("hud", "weapon", "crosshair", "messages"):
        getattr(game, f"set_render_{part}")(False)
    game.set_labels_buffer_enabled(True)
    game.set_available_buttons(
        [Button.TURN_LEFT_RIGHT_DELTA, Button.MOVE_FORWARD_BACKWARD_DELTA, Button.USE]
    )
    game.set_available_game_variables(
        [GameVariable.POSITION_X, GameVariable.POSITION_Y, GameVariable.ANGLE]
    )
    game.set_episode_timeout(0)
    game.set_seed(1)
    with contextlib.chdir(folder):  # the engine leaves a folder where it starts
        game.init()
    game.advance_action(WAKING)
    return game


def _door_tics(plan: Plan) -> int:
    return max(plan.tics // 5, 8)


def _seen(game: DoomGame, plan: Plan, door: int, aspect: float) -> tuple[np.ndarray, dict]:
    """The picture, cut to the aspect, and the state. `door`: tics since it was opened."""
    state = game.get_state()
    height, width = state.screen_buffer.shape[:2]
    wide, high = min(width, round(height * aspect)), min(height, round(width / aspect))
    left, top = (width - wide) // 2, (height - high) // 2
    things = []
    for label in state.labels:
        x = (label.x + label.width / 2 - left) / wide
        if label.object_name in NAMES and 0 <= x <= 1:
            color, kind = NAMES[label.object_name]
            things.append({"color": color, "kind": kind, "x": x, "height": label.height / high})
    x, y, angle = (float(value) for value in state.game_variables)
    values = {
        "x": x,
        "y": y,
        "angle": angle,
        "door": min(door / _door_tics(plan), 1.0),
        "things": sorted(things, key=lambda one: one["x"]),
    }
    return state.screen_buffer[top : top + high, left : left + wide].copy(), values


def _steer(game: DoomGame, plan: Plan) -> Iterator[list[float]]:
    """[degrees to the right, speed ahead, whether to use the door] of each tic."""
    if plan.program == "open":
        yield from _open(game, plan)
    first, second = plan.tics * 2 // 5, plan.tics * 3 // 5
    turn = plan.side * round(plan.angle / max(first, 1) / EXACT) * EXACT
    ways = {
        "walk": [(plan.tics, 0, 1)],
        "back off": [(plan.tics, 0, -1)],
        "turn": [(first, turn, 0)],
        "look away": [(first, turn, 0), (second - first, 0, 0), (first, -turn, 0)],
        "walk and turn": [(first, 0, 1), (second - first, 0, 0), (first, turn, 0)],
    }
    # Friction takes 3/32 of the speed in a tic, and one of thrust is 1/32 of a unit.
    thrust = min(3 * plan.distance / max(plan.tics, 1), 50)
    for tics, right, ahead in ways.get(plan.program, []):
        yield from [[right, ahead * thrust, 0]] * tics
    while True:
        yield [0, 0, 0]


def _open(game: DoomGame, plan: Plan) -> Iterator[list[float]]:
    """Up to the door, through it, and on."""
    thrust = min(9 * plan.distance / plan.tics, 50)
    while game.get_game_variable(GameVariable.POSITION_X) < LENGTH - REACH:
        yield [0, thrust, 0]
    yield [0, 0, 1]
    yield from [[0, 0, 0]] * _door_tics(plan)
    while True:
        yield [0, thrust, 0]


WORLD = Maze()
