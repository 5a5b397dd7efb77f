"""ViZDoom: plays what was planned in a map of its own, and says what is seen."""

import contextlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import vizdoom
from vizdoom import Button, DoomGame, GameVariable

from videodit.worlds.maze.map import LENGTH, PLAYER, Look, Thing, write_map

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
WAKING = 20  # tics: at first the player does not obey
START = 160.0  # units from the wall behind the player
EXACT = 360 / 1024  # degrees: turns by multiples of it there and back cancel out
REACH = 48  # units from the door at which it is opened


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


def still(wall: str, floor: str, things: Sequence = (), aspect: float = 4 / 3) -> tuple:
    """(picture uint8 H W 3, state) as clips begin; `things`: ((colour, kind), x, y)."""
    plan = Plan(START, list(things), (wall, wall), (floor, floor), "stand", 1, 0.0, 0.0, 0)
    pictures, states = play(plan, [0], aspect)
    return pictures[0], states[0]


def empty_halls(wall: str, floor: str, aspect: float) -> list[np.ndarray]:
    """Pictures (uint8 H W 3) of an empty hall, every 6 units or less of the way to the door."""
    plan = Plan(START, [], (wall, wall), (floor, floor), "walk", 1, 0.0, LENGTH - START, 200)
    return list(play(plan, list(range(0, plan.tics, 2)), aspect)[0])


def play(plan: Plan, shown: list[int], aspect: float) -> tuple[list[np.ndarray], list[dict]]:
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
    rows, columns = cut(state.screen_buffer, aspect)
    left, wide, high = columns.start, columns.stop - columns.start, rows.stop - rows.start
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
    return state.screen_buffer[rows, columns].copy(), values


def cut(picture: np.ndarray, aspect: float) -> tuple[slice, slice]:
    """The rows and columns in the middle of a picture that have this aspect."""
    height, width = picture.shape[:2]
    wide, high = min(width, round(height * aspect)), min(height, round(width / aspect))
    left, top = (width - wide) // 2, (height - high) // 2
    return slice(top, top + high), slice(left, left + wide)


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
