"""ViZDoom: plays a scene in a map written for it, and returns what is seen: pictures and states."""

import contextlib
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import vizdoom
from vizdoom import Button, DoomGame, GameVariable

from videodit.worlds.maze.map import LENGTH, PLAYER, Look, Thing, write_map
from videodit.worlds.maze.scene import FLOORS, REACH, START, THINGS, WALLS, Placed, Scene

NAMES = {  # ViZDoom's names of things
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
WAKING = 20  # tics at the start in which ViZDoom ignores actions
EXACT = 360 / 1024  # degrees: turns by multiples of it and back cancel out exactly


def still(
    wall: str, floor: str, things: Sequence[Placed] = (), aspect: float = 4 / 3
) -> tuple[np.ndarray, dict]:
    """The first picture (uint8 H W 3) and state of a clip with these walls, floor and things."""
    scene = Scene(START, list(things), (wall, wall), (floor, floor), "stand", 1, 0.0, 0.0, 0)
    pictures, states = play(scene, [0], aspect)
    return pictures[0], states[0]


def empty_halls(wall: str, floor: str, aspect: float) -> list[np.ndarray]:
    """Pictures (uint8 H W 3) of an empty hall, every 6 units or less of the way to the door."""
    scene = Scene(START, [], (wall, wall), (floor, floor), "walk", 1, 0.0, LENGTH - START, 200)
    return play(scene, list(range(0, scene.tics, 2)), aspect)[0]


def play(scene: Scene, shown: Sequence[int], aspect: float) -> tuple[list[np.ndarray], list[dict]]:
    """Pictures (uint8 H W 3, cut to the aspect) and states of the tics `shown`, in order."""
    seen, visible, door = {}, set(shown), 0
    with tempfile.TemporaryDirectory() as folder, _opened(folder, scene, aspect) as game:
        steering = _steer(game, scene)
        for tic in range(shown[-1] + 1):
            if tic in visible:
                seen[tic] = _seen(game, scene, door, aspect)
            action = next(steering)
            game.set_action(action)
            game.advance_action(1, tic + 1 in visible or scene.program == "open")
            door += bool(door or action[2])
    return [seen[tic][0] for tic in shown], [seen[tic][1] for tic in shown]


@contextlib.contextmanager
def _opened(folder: str, scene: Scene, aspect: float) -> Iterator[DoomGame]:
    """The running game in the scene's map; its files are in `folder`."""
    _write_map(os.path.join(folder, "hall.wad"), scene)
    game = _configured(folder, aspect)
    try:
        with contextlib.chdir(folder):  # the engine leaves a folder where it starts
            game.init()
        game.advance_action(WAKING)
        yield game
    finally:
        game.close()


def _write_map(path: str, scene: Scene) -> None:
    hall, beyond = (Look(WALLS[w], FLOORS[f]) for w, f in zip(scene.walls, scene.floors))
    things = [Thing(THINGS[pair], x, y) for pair, x, y in scene.things]
    things.append(Thing(PLAYER, scene.start, 0))
    write_map(path, hall, beyond, things, _door_tics(scene))


def _configured(folder: str, aspect: float) -> DoomGame:
    """ViZDoom without a window, with the actions that `_steer` gives and what `_seen` reads."""
    game = DoomGame()
    game.set_doom_scenario_path(os.path.join(folder, "hall.wad"))
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
    return game


def _door_tics(scene: Scene) -> int:
    """How long the door takes to open."""
    return max(scene.tics // 5, 8)


def _seen(game: DoomGame, scene: Scene, door: int, aspect: float) -> tuple[np.ndarray, dict]:
    """The picture, cut to the aspect, and the state. `door`: tics since the player opened it."""
    state: Any = game.get_state()  # its fields are set for what `_configured` asks for
    rows, columns = cut(state.screen_buffer, aspect)
    x, y, angle = (float(value) for value in state.game_variables)
    values = {
        "x": x,
        "y": y,
        "angle": angle,
        "door": min(door / _door_tics(scene), 1.0),
        "things": _things(state.labels, rows, columns),
    }
    return state.screen_buffer[rows, columns].copy(), values


def _things(labels: Iterable[vizdoom.Label], rows: slice, columns: slice) -> list[dict]:
    """The things whose middle is within these rows and columns of the screen, left to right."""
    left, wide, high = columns.start, columns.stop - columns.start, rows.stop - rows.start
    things = []
    for label in labels:
        x = (label.x + label.width / 2 - left) / wide
        if label.object_name in NAMES and 0 <= x <= 1:
            color, kind = NAMES[label.object_name]
            things.append({"color": color, "kind": kind, "x": x, "height": label.height / high})
    return sorted(things, key=lambda one: one["x"])


def cut(picture: np.ndarray, aspect: float) -> tuple[slice, slice]:
    """The rows and columns about the middle of a picture (H W 3) that have this width / height."""
    height, width = picture.shape[:2]
    wide, high = min(width, round(height * aspect)), min(height, round(width / aspect))
    left, top = (width - wide) // 2, (height - high) // 2
    return slice(top, top + high), slice(left, left + wide)


def _steer(game: DoomGame, scene: Scene) -> Iterator[list[float]]:
    """[degrees to the right, speed ahead, whether to use the door] for each tic, without end."""
    if scene.program == "open":
        yield from _open(game, scene)
    first, second = scene.tics * 2 // 5, scene.tics * 3 // 5
    turn = scene.side * round(scene.angle / max(first, 1) / EXACT) * EXACT
    moves: dict[
        str, list[tuple[int, float, int]]
    ] = {  # (tics, degrees to the right, direction ahead)
        "walk": [(scene.tics, 0, 1)],
        "back off": [(scene.tics, 0, -1)],
        "turn": [(first, turn, 0)],
        "look away": [(first, turn, 0), (second - first, 0, 0), (first, -turn, 0)],
        "walk and turn": [(first, 0, 1), (second - first, 0, 0), (first, turn, 0)],
    }
    # In each tic, friction takes 3/32 of the speed and a thrust of one adds 1/32 of a unit.
    thrust = min(3 * scene.distance / max(scene.tics, 1), 50)
    for tics, right, ahead in moves.get(scene.program, []):
        yield from [[right, ahead * thrust, 0.0]] * tics
    while True:
        yield [0, 0, 0]


def _open(game: DoomGame, scene: Scene) -> Iterator[list[float]]:
    """The actions of a player who walks up to the door, opens it and walks on, without end."""
    thrust = min(9 * scene.distance / scene.tics, 50)
    while game.get_game_variable(GameVariable.POSITION_X) < LENGTH - REACH:
        yield [0, thrust, 0]
    yield [0, 0, 1]
    yield from [[0.0, 0.0, 0.0]] * _door_tics(scene)
    while True:
        yield [0, thrust, 0]
