"""Finds the slots of a survival clip in its frames: compares each tile with Crafter's textures."""

import functools
from collections import Counter

import crafter
import numpy as np
from crafter import constants, engine

from videodit.worlds.grids import resized
from videodit.worlds.survival.facts import facts, near
from videodit.worlds.survival.game import DAYLIGHT, WALKED
from videodit.worlds.survival.layout import ITEMS, TILE, grid_of, item_rows
from videodit.worlds.world import Detection

SAMPLES = 4  # pixels across a tile when tiles are compared
REACH = 3  # tiles: the farthest that the player walks from one frame to the next
PLAYERS = ("player-left", "player-right", "player-up", "player-down")
# Who can be on which ground.
STANDING = {"cow": ("grass", "sand", "path"), "zombie": ("grass", "sand", "path")}
NOISE = 79.5  # mean level of the noise that Crafter adds at night
GREY = 1.5  # levels: while the player sleeps, red and green differ less than this


def detect(frames: np.ndarray) -> dict[str, Detection]:
    """All slots that the tiles and the inventory show; none if the player sleeps all the time.

    `frames`: uint8 T H W 3, RGB.
    """
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
    """Float32 (rows, columns, SAMPLES * SAMPLES * 3): the pixels of each tile, made small."""
    columns, rows = grid
    picture = resized(frame, columns * SAMPLES, rows * SAMPLES)
    tiles = picture.reshape(rows, SAMPLES, columns, SAMPLES, 3).swapaxes(1, 2)
    return tiles.reshape(rows, columns, -1).astype(np.float32)


def _world(picture: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """The `_samples` above the inventory."""
    return picture[: grid[1] - item_rows(grid[0])]


def _asleep(picture: np.ndarray, grid: tuple[int, int]) -> bool:
    """Whether the player sleeps: Crafter then shows no colours, red and green are equal."""
    colors = _world(picture, grid).reshape(-1, 3)
    return bool(abs(colors[:, 0] - colors[:, 1]).mean() < GREY)


def _match(
    picture: np.ndarray, grid: tuple[int, int], time: str
) -> tuple[list[str], np.ndarray, np.ndarray]:
    """(name of each tile of the world, its error, the error of the second best name).

    Tiles are in reading order.
    """
    names, templates = _templates(grid, time)
    tiles = _world(picture, grid).reshape(-1, 1, templates.shape[-1])
    errors = ((tiles - templates) ** 2).mean(-1)
    best, second = np.partition(errors, 1, axis=1)[:, :2].T
    return [names[k] for k in errors.argmin(1)], best, second


@functools.cache
def _templates(grid: tuple[int, int], time: str) -> tuple[list[str], np.ndarray]:
    """Names, and float32 (tiles, names, values): the `_samples` of each name at each tile.

    At night the same name looks different near the middle of the picture and far from it.
    """
    named = _named_pictures()
    columns, rows = grid[0], grid[1] - item_rows(grid[0])
    noise = _noise_share(columns, rows, time).reshape(-1, 1, 1, 1, 1)
    lit = _light(np.stack([picture for _, picture in named]), noise, DAYLIGHT[time])
    size = TILE // SAMPLES
    small = lit.reshape(*lit.shape[:2], SAMPLES, size, SAMPLES, size, 3).mean((3, 5))
    return [name for name, _ in named], small.reshape(*small.shape[:2], -1).astype(np.float32)


def _named_pictures() -> list[tuple[str, np.ndarray]]:
    """Everything that a tile can show by day: "sand", "cow on grass", ...; uint8 TILE TILE 3."""
    textures = engine.Textures(crafter.constants.root / "assets")
    grounds_of: list[tuple[str, str, tuple[str, ...]]]
    grounds_of = [(name, name, grounds) for name, grounds in STANDING.items()]
    grounds_of += [("skeleton", "skeleton", ("path",)), ("plant", "sapling", ("grass",))]
    grounds_of += [(name, "player", WALKED["day"]) for name in PLAYERS]
    named = [(name, textures.get(name, (TILE, TILE))[..., :3]) for name in constants.materials]
    for texture, name, grounds in grounds_of:
        for ground in grounds:
            picture = textures.get(ground, (TILE, TILE))[..., :3].copy()
            engine._draw_alpha(picture, (0, 0), textures.get(texture, (TILE, TILE)))
            named.append((f"{name} on {ground}", picture))
    return [(name, picture.swapaxes(0, 1)) for name, picture in named]  # Crafter puts x first


def _noise_share(columns: int, rows: int, time: str) -> np.ndarray:
    """The share of noise, 0 to 1, that Crafter mixes into each tile: float (rows, columns)."""
    y, x = np.linspace(-1, 1, rows), np.linspace(-1, 1, columns)
    vignette = 1 - np.exp(-0.5 * (y[:, None] ** 2 + x**2) / 0.5**2)
    return 2 * max(0.5 - DAYLIGHT[time], 0) * vignette


def _light(pictures: np.ndarray, noise: np.ndarray, daylight: float) -> np.ndarray:
    """Pictures (N H W 3) as Crafter's light shows them at each tile: float (tiles, N, H, W, 3).

    `noise`: float (tiles, 1, 1, 1, 1), see `_noise_share`.
    """
    night = (1 - noise) * pictures + noise * NOISE
    grey = night @ np.array([0.299, 0.587, 0.114])
    night = 0.4 * night + 0.6 * grey[..., None]
    night = 0.5 * night + 0.5 * np.array([0, 16, 64])
    return daylight * pictures + (1 - daylight) * night


def _states(
    pictures: list[np.ndarray], awake: list[int], size: tuple[int, int], time: str
) -> list[dict]:
    """States for `facts`, from the `_samples` of each frame; `size`: a frame's width and height."""
    grid = grid_of(*size)
    states: list[dict] = []
    position, done = np.zeros(2, int), Counter[str]()
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
    """By how many tiles (x, y) the view moved, from the names of its tiles (rows, columns)."""

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
    cells = picture[rows - item_rows(columns) :].reshape(-1, picture.shape[-1])[:ITEMS]
    amounts = ((_amounts(size) - cells) ** 2).mean(-1).argmin(0)
    return dict(zip(constants.items, amounts.tolist()))


@functools.cache
def _amounts(size: tuple[int, int]) -> np.ndarray:
    """Float32 (10 amounts, items, values): the `_samples` of the inventory with each amount.

    `size`: width and height of the picture.
    """
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
        amounts.append(cells.reshape(-1, cells.shape[-1])[:ITEMS])
    return np.stack(amounts)


def _deeds(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    """What the player did, as Crafter's achievements, when the inventory changed like this."""
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
