"""Reads the survival world from its pictures: every tile is compared with the game's textures."""

import functools
from collections import Counter

import crafter
import numpy as np
from crafter import constants, engine

from videodit.worlds.grids import resized
from videodit.worlds.survival.game import DAYLIGHT, TILE, WALKED
from videodit.worlds.survival.world import facts, grid_of, item_rows, near
from videodit.worlds.world import Detection

SAMPLES = 4  # of a tile, both ways, are compared
REACH = 3  # tiles at most that the player walks from one frame to the next
PLAYERS = ("player-left", "player-right", "player-up", "player-down")
STANDING = {"cow": ("grass", "sand", "path"), "zombie": ("grass", "sand", "path")}
NOISE = 79.5  # mean level of the grain of the night
GREY = 1.5  # levels: a sleeper's world has no more colour than this


def detect(frames: np.ndarray) -> dict[str, Detection]:
    """Every slot that the tiles and the inventory tell, of frames uint8 T H W 3."""
    grid = grid_of(frames.shape[2], frames.shape[1])
    pictures = [_samples(frame, grid) for frame in frames]
    awake = [k for k, picture in enumerate(pictures) if not _asleep(picture, grid)]
    if not awake:
        return {}
    first = pictures[awake[0]]
    time = min(DAYLIGHT, key=lambda time: _match(first, grid, time)[1].mean())
    tiles, errors, others = _match(first, grid, time)
    centre = len(tiles) // 2
    ground = tiles[centre].split(" on ")[-1]
    sure = float(np.clip(1 - errors / np.maximum(others, 1e-6), 0, 1).mean())
    states = _states(pictures, awake, (frames.shape[2], frames.shape[1]), time)
    around = near([name.split(" on ")[0] for k, name in enumerate(tiles) if k != centre])
    slots = {"time": time, "ground": ground, **around, **facts(states)}
    return {name: Detection(value, sure) for name, value in slots.items()}


def _samples(frame: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Float32 rows columns SAMPLES*SAMPLES*3: what is compared of each tile."""
    columns, rows = grid
    picture = resized(frame, columns * SAMPLES, rows * SAMPLES)
    tiles = picture.reshape(rows, SAMPLES, columns, SAMPLES, 3).swapaxes(1, 2)
    return tiles.reshape(rows, columns, -1).astype(np.float32)


def _world(picture: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    return picture[: grid[1] - item_rows(grid[0])]


def _asleep(picture: np.ndarray, grid: tuple[int, int]) -> bool:
    """A sleeper sees no colours: red and green are the same."""
    colors = _world(picture, grid).reshape(-1, 3)
    return bool(abs(colors[:, 0] - colors[:, 1]).mean() < GREY)


def _match(picture: np.ndarray, grid: tuple[int, int], time: str):
    """(name of each tile of the world, its error, that of the next best), in reading order."""
    names, templates = _templates(grid, time)
    tiles = _world(picture, grid).reshape(-1, 1, templates.shape[-1])
    errors = ((tiles - templates) ** 2).mean(-1)
    best, second = np.partition(errors, 1, axis=1)[:, :2].T
    return [names[k] for k in errors.argmin(1)], best, second


@functools.cache
def _templates(grid: tuple[int, int], time: str) -> tuple[list[str], np.ndarray]:
    """Names, and tiles x names x samples: what each looks like in this light at each place."""
    textures = engine.Textures(crafter.constants.root / "assets")
    names, pictures = [], []
    for material in constants.materials:
        names.append(material)
        pictures.append(textures.get(material, (TILE, TILE))[..., :3])
    over = [(name, name, grounds) for name, grounds in STANDING.items()]
    over += [("skeleton", "skeleton", ("path",)), ("plant", "sapling", ("grass",))]
    over += [(name, "player", WALKED["day"]) for name in PLAYERS]
    for texture, name, grounds in over:
        for ground in grounds:
            picture = textures.get(ground, (TILE, TILE))[..., :3].copy()
            engine._draw_alpha(picture, (0, 0), textures.get(texture, (TILE, TILE)))
            names.append(f"{name} on {ground}")
            pictures.append(picture)
    columns, rows = grid[0], grid[1] - item_rows(grid[0])
    grain = _grain(columns, rows, time).reshape(-1, 1, 1, 1, 1)
    lit = _light(np.stack(pictures).swapaxes(1, 2), grain, DAYLIGHT[time])
    size = TILE // SAMPLES
    small = lit.reshape(*lit.shape[:2], SAMPLES, size, SAMPLES, size, 3).mean((3, 5))
    return names, small.reshape(*small.shape[:2], -1).astype(np.float32)


def _grain(columns: int, rows: int, time: str) -> np.ndarray:
    """Share of the night's grain in each tile: rows columns."""
    y, x = np.linspace(-1, 1, rows), np.linspace(-1, 1, columns)
    vignette = 1 - np.exp(-0.5 * (y[:, None] ** 2 + x**2) / 0.5**2)
    return 2 * max(0.5 - DAYLIGHT[time], 0) * vignette


def _light(pictures: np.ndarray, grain: np.ndarray, daylight: float) -> np.ndarray:
    """What the game's light makes of pictures N H W 3: tiles N H W 3, float."""
    night = (1 - grain) * pictures + grain * NOISE
    grey = night @ np.array([0.299, 0.587, 0.114])
    night = 0.4 * night + 0.6 * grey[..., None]
    night = 0.5 * night + 0.5 * np.array([0, 16, 64])
    return daylight * pictures + (1 - daylight) * night


def _states(pictures, awake: list[int], size: tuple[int, int], time: str) -> list[dict]:
    """What `facts` needs of each frame (of this width and height)."""
    grid = grid_of(*size)
    states, position, done = [], np.zeros(2, int), Counter()
    before, bag = None, None
    for k, picture in enumerate(pictures):
        now = _inventory(picture, size)
        if k in awake:
            names = np.array(_match(picture, grid, time)[0]).reshape(-1, grid[0])
            tiles = np.array([[name.split(" on ")[-1] for name in row] for row in names])
            if before is not None:
                position = position + _shift(before, tiles)
            before = tiles
        if bag is not None:
            done = done + Counter(_deeds(bag, now))
        bag = now
        states.append(
            {
                "position": position.tolist(),
                "inventory": {name: n for name, n in now.items() if n},
                "done": done,
                "sleeping": k not in awake,
            }
        )
    return states


def _shift(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """By how many tiles (x, y) the view moved."""

    def agreement(move: tuple[int, int]) -> float:
        x, y = move
        one, other = before, after
        one = one[max(y, 0) : len(one) + min(y, 0), max(x, 0) : one.shape[1] + min(x, 0)]
        other = other[max(-y, 0) : len(other) + min(-y, 0)]
        other = other[:, max(-x, 0) : other.shape[1] + min(-x, 0)]
        return (one == other).mean() - 1e-3 * (abs(x) + abs(y)) if one.size else 0.0

    reach = range(-REACH, REACH + 1)
    return np.array(max(((x, y) for x in reach for y in reach), key=agreement))


def _inventory(picture: np.ndarray, size: tuple[int, int]) -> dict[str, int]:
    """How many of each item the picture shows."""
    columns, rows = grid_of(*size)
    cells = picture[rows - item_rows(columns) :].reshape(-1, picture.shape[-1])[
        : len(constants.items)
    ]
    amounts = ((_amounts(size) - cells) ** 2).mean(-1).argmin(0)
    return dict(zip(constants.items, amounts.tolist()))


@functools.cache
def _amounts(size: tuple[int, int]) -> np.ndarray:
    """Samples of the items in a picture of this width and height: amount, item, samples."""
    columns, rows = grid_of(*size)
    view = engine.ItemView(
        engine.Textures(crafter.constants.root / "assets"), (columns, item_rows(columns))
    )
    amounts = []
    for n in range(10):
        picture = np.zeros((rows * TILE, columns * TILE, 3), np.uint8)
        items = view(dict.fromkeys(constants.items, n), (TILE, TILE)).swapaxes(0, 1)
        picture[-len(items) :] = items
        cells = _samples(resized(picture, *size), (columns, rows))[rows - item_rows(columns) :]
        amounts.append(cells.reshape(-1, cells.shape[-1])[: len(constants.items)])
    return np.stack(amounts)


def _deeds(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    """What was done, as achievements, where the inventory went from one to the other."""
    change = {item: after[item] - before[item] for item in after}
    deeds = {
        "collect_wood": change["wood"],
        "collect_stone": change["stone"],
        "collect_coal": change["coal"],
        "collect_iron": change["iron"],
        "collect_drink": change["drink"],
        "eat_cow": int(change["food"] > 1),
        "place_stone": -change["stone"],
        "place_table": int(change["wood"] == -constants.place["table"]["uses"]["wood"]),
        "place_plant": -change["sapling"],
        "make_wood_pickaxe": change["wood_pickaxe"],
        "make_wood_sword": change["wood_sword"],
    }
    return {name: n for name, n in deeds.items() if n > 0}
