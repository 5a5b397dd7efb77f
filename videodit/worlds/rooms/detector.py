"""Finds the slots of a clip of rooms in its frames: compares each tile with MiniGrid's drawings."""

import functools
from itertools import product

import numpy as np
from minigrid.core.constants import COLOR_NAMES
from minigrid.core.grid import Grid
from minigrid.core.world_object import Ball, Box, Door, Key, Wall, WorldObj
from PIL import Image

from videodit.worlds.rooms.facts import FACINGS, describe, facts
from videodit.worlds.rooms.layout import TILE, fitted, layout_of, margins, room_sizes
from videodit.worlds.world import Detection

SAMPLES = 8  # pixels across a tile when tiles are compared

Name = tuple[WorldObj | None, int | None]  # what a tile shows: an object, the agent's direction


def detect(frames: np.ndarray) -> dict[str, Detection]:
    """All slots but those of the mission, which no picture shows.

    `frames`: uint8 T H W 3, RGB.
    """
    layout = layout_of(frames.shape[2], frames.shape[1])
    fits = {size: _match(frames[0], layout, size) for size in room_sizes(layout)}
    size = min(fits, key=lambda size: fits[size][1])
    found = [_match(frame, layout, size) for frame in frames]
    grid = _grid(layout, size)
    states = _states([tiles for tiles, _, _ in found], grid)
    return {name: Detection(value, found[0][2]) for name, value in facts(states).items()}


def _grid(layout: tuple[int, int], size: int) -> tuple[int, int]:
    """(columns, rows) of tiles where a side of a room measures `size` tiles."""
    return layout[0] * (size - 1) + 1, layout[1] * (size - 1) + 1


def _match(
    frame: np.ndarray, layout: tuple[int, int], size: int
) -> tuple[list[Name], float, float]:
    """(name of each tile, in reading order; their mean error; confidence)."""
    shape = frame.shape[1], frame.shape[0]
    names, templates = _templates(shape, layout, size)
    errors = ((_samples(frame, _grid(layout, size))[:, None] - templates) ** 2).mean(-1)
    errors[~_possible(layout, size)] = np.inf
    best = errors.argmin(1)
    for line in _between(layout, size):
        best[line] = 1  # index of the wall; one tile is the door: the one that fits a door best
        doors = errors[line][:, 2:].min(1) - errors[line][:, 1]
        best[line[doors.argmin()]] = 2 + errors[line[doors.argmin()], 2:].argmin()
    least, second = np.partition(errors, 1, axis=1)[:, :2].T
    sure = np.clip(1 - least / np.maximum(second, 1e-6), 0, 1).mean()
    return [names[k] for k in best], float(least.mean()), float(sure)


def _samples(frame: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Float32 (tiles, values): the pixels of each tile of a frame (uint8 H W 3), made small."""
    columns, rows = grid
    height, width = frame.shape[:2]
    x, y = margins(width, height, columns, rows)
    across, down = width / (columns * TILE + 2 * x), height / (rows * TILE + 2 * y)
    box = (x * across, y * down, width - x * across, height - y * down)
    picture = Image.fromarray(frame).resize(
        (columns * SAMPLES, rows * SAMPLES), Image.Resampling.BOX, box=box
    )
    tiles = np.asarray(picture, np.float32).reshape(rows, SAMPLES, columns, SAMPLES, 3)
    return tiles.swapaxes(1, 2).reshape(rows * columns, -1)


@functools.cache
def _names() -> list[Name]:
    """Everything that a tile can show: nothing first, then a wall, then doors."""
    doors = [Door(color, is_open) for color, is_open in product(COLOR_NAMES, (False, True))]
    things = [kind(color) for kind, color in product((Ball, Box, Key), COLOR_NAMES)]
    names: list[Name] = [(thing, None) for thing in (None, Wall(), *doors)]
    names += list(product([door for door in doors if door.is_open], range(len(FACINGS))))
    return names + [(thing, None) for thing in things] + [(None, k) for k in range(len(FACINGS))]


@functools.lru_cache(maxsize=8)
def _templates(
    shape: tuple[int, int], layout: tuple[int, int], size: int
) -> tuple[list[Name], np.ndarray]:
    """`_names`, and float32 (tiles, names, values): the `_samples` of each name at each tile.

    `shape`: width and height of the frame.
    """
    columns, rows = _grid(layout, size)
    seen = []
    for name in _names():
        tile = Grid.render_tile(*name, tile_size=TILE).astype(np.uint8)
        picture = fitted(np.tile(tile, (rows, columns, 1)), *shape)
        seen.append(_samples(picture, (columns, rows)))
    return _names(), np.stack(seen, axis=1)


def _possible(layout: tuple[int, int], size: int) -> np.ndarray:
    """Bool (tiles, names): walls and doors are where rooms end, all else is inside of them."""
    columns, rows = _grid(layout, size)
    row, column = np.divmod(np.arange(columns * rows), columns)
    edge = (row % (size - 1) == 0) | (column % (size - 1) == 0)
    built = np.array(
        [thing is not None and thing.type in ("wall", "door") for thing, _ in _names()]
    )
    return edge[:, None] == built


def _between(layout: tuple[int, int], size: int) -> list[np.ndarray]:
    """The tiles of each wall that has a door."""
    columns, rows = _grid(layout, size)
    tiles = np.arange(columns * rows).reshape(rows, columns)
    across = [tiles[1:-1, k * (size - 1)] for k in range(1, layout[0])]
    return across + [tiles[k * (size - 1), 1:-1] for k in range(1, layout[1])]


def _states(frames: list[list[Name]], grid: tuple[int, int]) -> list[dict]:
    """States for `facts`. A thing that has left the floor is what the agent carries."""
    states: list[dict] = []
    last: dict = {"position": [0, 0], "facing": "right"}
    for tiles in frames:
        last = _seen(tiles, grid, last)
        states.append(last)
    known = {_name(one) for state in states for one in state["objects"] if one["kind"] != "door"}
    for state in states:
        gone = known - {_name(one) for one in state["objects"]}
        state["carries"] = dict(zip(("color", "kind"), gone.pop())) if len(gone) == 1 else None
    return states


def _seen(tiles: list[Name], grid: tuple[int, int], last: dict) -> dict:
    """The state of one frame; where no agent is seen, it is where it was in the last state."""
    placed = [(k % grid[0], k // grid[0], *tile) for k, tile in enumerate(tiles)]
    agent = next(((x, y, way) for x, y, _, way in placed if way is not None), None)
    return {
        "grid": list(grid),
        "position": list(agent[:2]) if agent else last["position"],
        "facing": FACINGS[agent[2]] if agent else last["facing"],
        "objects": [
            describe(thing, x, y)
            for x, y, thing, _ in placed
            if thing is not None and thing.type != "wall"
        ],
    }


def _name(thing: dict) -> tuple[str, str]:
    return thing["color"], thing["kind"]
