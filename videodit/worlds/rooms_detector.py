"""Reads the rooms from their pictures: every tile is compared with MiniGrid's drawings."""

import functools
from itertools import product

import numpy as np
from minigrid.core.constants import COLOR_NAMES
from minigrid.core.grid import Grid
from minigrid.core.world_object import Ball, Box, Door, Key, Wall
from PIL import Image

from videodit.worlds.grids import resized
from videodit.worlds.rooms import (
    FACINGS,
    TILE,
    describe,
    facts,
    layout_of,
    margins,
    room_sizes,
)
from videodit.worlds.world import Detection

SAMPLES = 8  # of a tile, both ways, are compared


def detect(frames: np.ndarray) -> dict[str, Detection]:
    """Every slot but for the mission, which no picture shows, of frames uint8 T H W 3."""
    sizes = [_grid(frames.shape[2], frames.shape[1], n) for n in _room_sizes(frames)]
    grid = min(sizes, key=lambda grid: _match(frames[0], grid)[1].mean())
    found = [_match(frame, grid) for frame in frames]
    sure = float(np.clip(1 - found[0][1] / np.maximum(found[0][2], 1e-6), 0, 1).mean())
    states = _states([tiles for tiles, _, _ in found], grid)
    return {name: Detection(value, sure) for name, value in facts(states).items()}


def _room_sizes(frames: np.ndarray) -> tuple[int, ...]:
    return room_sizes(layout_of(frames.shape[2], frames.shape[1]))


def _grid(width: int, height: int, size: int) -> tuple[int, int]:
    """(columns, rows) of tiles where a room measures `size` tiles."""
    columns, rows = layout_of(width, height)
    return columns * (size - 1) + 1, rows * (size - 1) + 1


def _match(frame: np.ndarray, grid: tuple[int, int]):
    """(template of each tile, its error, that of the next best), in reading order."""
    columns, rows = grid
    height, width = frame.shape[:2]
    x, y = margins(width, height, columns, rows)
    across, down = width / (columns * TILE + 2 * x), height / (rows * TILE + 2 * y)
    box = (x * across, y * down, width - x * across, height - y * down)
    picture = Image.fromarray(frame).resize(
        (columns * SAMPLES, rows * SAMPLES), Image.Resampling.BOX, box=box
    )
    tiles = np.asarray(picture, np.float32).reshape(rows, SAMPLES, columns, SAMPLES, 3)
    tiles = tiles.swapaxes(1, 2).reshape(rows * columns, 1, -1)
    names, templates = _templates(round(across * TILE))
    errors = ((tiles - templates) ** 2).mean(-1)
    best, second = np.partition(errors, 1, axis=1)[:, :2].T
    return [names[k] for k in errors.argmin(1)], best, second


@functools.cache
def _templates(pixels: int) -> tuple[list, np.ndarray]:
    """((object, the agent's direction), either may be None) and the samples of each tile.

    `pixels`: about how many a tile has in the frames, both ways.
    """
    things = [kind(color) for kind, color in product((Ball, Box, Key), COLOR_NAMES)]
    doors = [Door(color, is_open) for color, is_open in product(COLOR_NAMES, (False, True))]
    names = [(thing, None) for thing in (None, Wall(), *things, *doors)]
    under = [None, *(door for door in doors if door.is_open)]
    names += list(product(under, range(len(FACINGS))))
    drawn = [Grid.render_tile(*name, tile_size=TILE).astype(np.uint8) for name in names]
    shown = [resized(picture, pixels, pixels) for picture in drawn]
    pictures = [resized(picture, SAMPLES, SAMPLES) for picture in shown]
    return names, np.stack(pictures).reshape(len(names), -1).astype(np.float32)


def _states(frames: list[list], grid: tuple[int, int]) -> list[dict]:
    """What `facts` needs of each frame. What has left the floor is what the agent carries."""
    states: list[dict] = []
    for tiles in frames:
        placed = [(k % grid[0], k // grid[0], *tile) for k, tile in enumerate(tiles)]
        agent = next(((x, y, way) for x, y, _, way in placed if way is not None), None)
        objects = [
            describe(thing, x, y)
            for x, y, thing, _ in placed
            if thing is not None and thing.type != "wall"
        ]
        last = states[-1] if states else {"position": [0, 0], "facing": "right"}
        states.append(
            {
                "grid": list(grid),
                "position": list(agent[:2]) if agent else last["position"],
                "facing": FACINGS[agent[2]] if agent else last["facing"],
                "objects": objects,
            }
        )
    known = {_name(one) for state in states for one in state["objects"] if one["kind"] != "door"}
    for state in states:
        gone = known - {_name(one) for one in state["objects"]}
        state["carries"] = dict(zip(("color", "kind"), gone.pop())) if len(gone) == 1 else None
    return states


def _name(thing: dict) -> tuple[str, str]:
    return thing["color"], thing["kind"]
