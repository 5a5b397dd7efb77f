"""Crafter and its player: where a clip starts, and what the player does to reach its goals.

"seen" clips never show the times and grounds of HELD_OUT together.
"""

from collections import deque
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any, NamedTuple

import crafter
import numpy as np
from crafter import constants, objects
from opensimplex import internals

from videodit.worlds.grids import heading
from videodit.worlds.survival.layout import TILE

AREA = 32  # tiles of the world in each direction
DAYLIGHT = {"day": 1.0, "dusk": 0.5, "night": 0.15}
# Where the player may walk at each time of day.
WALKED = {"day": ("grass", "sand", "path"), "dusk": ("grass", "sand"), "night": ("grass", "path")}
HELD_OUT = (("dusk", "path"), ("night", "sand"))
CREATURES = {objects.Cow: "cow", objects.Zombie: "zombie", objects.Skeleton: "skeleton"}
MOVES = {(-1, 0): "move_left", (1, 0): "move_right", (0, -1): "move_up", (0, 1): "move_down"}
NEAR = 4  # steps at most from the start to what the goal needs

Tile = tuple[int, int]  # x to the right, y down

# Most of the time of making a clip goes into the noise from which Crafter makes its world. Python
# reads lists faster than arrays: this halves that time. Where numba is installed, opensimplex is
# compiled and reads arrays only.
if not hasattr(internals._extrapolate3, "py_func"):
    internals.GRADIENTS3 = np.asarray(internals.GRADIENTS3).tolist()


class Env(crafter.Env):
    """Crafter at a fixed time of day, where creatures are visited in order of their positions."""

    def __init__(self, seed: int, tiles: tuple[int, int], time: str):
        """`tiles`: (columns, rows) of a picture; `time`: one of DAYLIGHT."""
        self.time = time
        size = (tiles[0] * TILE, tiles[1] * TILE)
        super().__init__(area=(AREA, AREA), view=tiles, size=size, seed=seed)
        self.picture = self.reset()

    def act(self, action: str) -> None:
        """One step; `picture` (uint8 H W 3) shows what is there after it."""
        self.picture = self.step(constants.actions.index(action))[0]

    def _update_time(self) -> None:
        self._world.daylight = DAYLIGHT[self.time]

    def _balance_chunk(self, chunk: Any, objs: Any) -> None:
        super()._balance_chunk(chunk, sorted(objs, key=lambda one: tuple(one.pos)))

    @property
    def player(self) -> objects.Player:
        """Crafter's player."""
        return self._player

    @property
    def world(self) -> crafter.engine.World:
        """Crafter's map: world[x, y] is (material, creature or None)."""
        return self._world

    @property
    def corner(self) -> np.ndarray:
        """The tile (x, y) at the top left of the picture."""
        return self.player.pos - self._local_view._grid // 2

    def seen(self) -> list[str]:
        """What each visible tile shows: a creature or the material; the player is left out."""
        grid, corner = self._local_view._grid, self.corner
        tiles = []
        for place in product(range(grid[0]), range(grid[1])):
            material, creature = self._world[corner + place]
            tiles.append(CREATURES.get(type(creature), material))
        return tiles

    def state(self) -> dict:
        """The state of a frame: plain numbers and words, see facts.py."""
        player = self.player
        return {
            "position": player.pos.tolist(),
            "facing": heading(*player.facing),
            "ground": self.world[player.pos][0],
            "inventory": {name: n for name, n in player.inventory.items() if n},
            "done": {name: n for name, n in player.achievements.items() if n},
            "sleeping": bool(player.sleeping),
            "daylight": self.world.daylight,
            "creatures": [
                {"kind": CREATURES[type(one)], "tile": (one.pos - self.corner).tolist()}
                for one in self.world.objects
                if type(one) in CREATURES
            ],
        }


class Episode(NamedTuple):
    """What happens in a clip; pictures and states are one a step."""

    time: str  # one of DAYLIGHT
    seen: list[str]  # what each tile of the first picture shows, see `Env.seen`
    pictures: list[np.ndarray]  # uint8 H W 3, TILE pixels a tile
    states: list[dict]  # see `Env.state`


def play(rng: np.random.Generator, tiles: tuple[int, int], steps: int, held_out: bool) -> Episode:
    """An episode of so many steps. `tiles`: (columns, rows) of a picture.

    `held_out`: whether it starts with time and ground of HELD_OUT, or never shows these.
    """
    env, goals = start(rng, tiles, held_out)
    episode = Episode(env.time, env.seen(), [env.picture], [env.state()])
    actions = policy(env, goals, rng)
    for _ in range(steps):
        env.act(next(actions))
        episode.pictures.append(env.picture)
        episode.states.append(env.state())
    return episode


def start(
    rng: np.random.Generator, tiles: tuple[int, int], held_out: bool
) -> tuple[Env, list[str]]:
    """A world in which the player stands close to what the first of its goals needs; all goals."""
    while True:
        time, grounds = _time_and_grounds(rng, held_out)
        env = Env(int(rng.integers(2**31 - 1)), tiles, time)
        for goal in map(str, rng.permutation(list(GOALS))):
            place = _starting_place(env, GOALS[goal][0], grounds, rng)
            if place is not None:
                env.world.move(env.player, place)
                env.player.facing = tuple(list(MOVES)[rng.integers(4)])
                others = [str(g) for g in rng.permutation(list(GOALS)) if g != goal]
                _equip(env.player, rng)
                env.picture = env.render()
                return env, [goal, *others]


def _time_and_grounds(rng: np.random.Generator, held_out: bool) -> tuple[str, tuple[str, ...]]:
    """A time of day, and the grounds on which the player may start."""
    if held_out:
        time, ground = HELD_OUT[rng.integers(len(HELD_OUT))]
        return time, (ground,)
    time = str(rng.choice(list(DAYLIGHT), p=(0.5, 0.25, 0.25)))
    return time, WALKED[time]


def _equip(player: objects.Player, rng: np.random.Generator) -> None:
    """Gives the player what the goals use up, so that it can follow them at once."""
    bag = player.inventory
    bag.update(wood=int(rng.integers(2, 6)), stone=int(rng.integers(1, 6)), sapling=1)
    bag.update(food=int(rng.integers(2, 4)), drink=int(rng.integers(2, 6)))
    bag.update(wood_pickaxe=1, stone_pickaxe=1, energy=int(rng.integers(3, 9)))


def _starting_place(
    env: Env, target: str, grounds: tuple[str, ...], rng: np.random.Generator
) -> Tile | None:
    """A free tile of these grounds from which a target is at most NEAR steps away."""
    for place in rng.permutation(list(product(range(4, AREA - 4), repeat=2))).tolist():
        material, creature = env.world[place]
        if material in grounds and creature is None:
            way = _way(env, tuple(place), lambda tile: _shows(env, tile, target))
            if way is not None and len(way) <= NEAR:
                return tuple(place)
    return None


def _shows(env: Env, tile: Tile, target: str) -> bool:
    """Whether the target, a material or a creature, is on this tile."""
    material, creature = env.world[tile]
    if creature is not None:
        return CREATURES.get(type(creature)) == target
    return material == target


def _way(env: Env, start: Tile, wanted: Callable[[Tile], bool]) -> list[Tile] | None:
    """The shortest way to the nearest wanted tile, as moves; the last one goes onto that tile.

    None if no wanted tile can be reached in about 2 NEAR moves.
    """
    queue = deque([start])
    ways: dict[Tile, list[Tile]] = {start: []}
    while queue:
        place = queue.popleft()
        if len(ways[place]) > 2 * NEAR:
            return None
        for move in MOVES:
            tile = (place[0] + move[0], place[1] + move[1])
            material, creature = env.world[tile]
            if material is None or tile in ways:
                continue
            ways[tile] = [*ways[place], move]
            if wanted(tile):
                return ways[tile]
            if material in WALKED[env.time] and creature is None:
                queue.append(tile)
    return None


def policy(env: Env, goals: list[str], rng: np.random.Generator) -> Iterator[str]:
    """The player's actions without end: it follows one goal after the other and walks between."""
    while True:
        for goal in goals:
            target, follow = GOALS[goal]
            for _ in range(rng.integers(1, 4)):
                yield from _approach(env, target)
                yield from follow(env, rng)
            yield from _wander(env, rng)


def _approach(env: Env, target: str) -> Iterator[str]:
    """Walks up to the nearest target and faces it; stops where there is none near."""
    for _ in range(3 * NEAR):
        place, facing = tuple(env.player.pos.tolist()), tuple(env.player.facing)
        way = _way(env, place, lambda tile: _shows(env, tile, target))
        if way is None or way == [facing]:
            return
        yield MOVES[way[0]]


def _faces(env: Env) -> tuple[str | None, object]:
    """The material and the creature (or None) in front of the player."""
    return env.world[env.player.pos + env.player.facing]


Follow = Callable[[Env, np.random.Generator], Iterator[str]]  # the actions that reach a goal


def _use(env: Env, rng: np.random.Generator) -> Iterator[str]:
    """Takes or drinks what is in front of the player."""
    if _faces(env)[0] in ("tree", "water", "stone", "coal", "iron"):
        yield "do"


def _hunt(env: Env, rng: np.random.Generator) -> Iterator[str]:
    """Follows a cow until it is eaten or lost."""
    for _ in range(12):
        if not isinstance(_faces(env)[1], objects.Cow):
            yield from _approach(env, "cow")
        if not isinstance(_faces(env)[1], objects.Cow):
            return
        eaten = env.player.achievements["eat_cow"]
        yield "do"
        if env.player.achievements["eat_cow"] > eaten:
            return


def _put(action: str, item: str, where: tuple[str, ...]) -> Follow:
    """Places the item in front of the player, if that tile is free and one of `where`."""

    def follow(env: Env, rng: np.random.Generator) -> Iterator[str]:
        material, creature = _faces(env)
        needed = constants.place[action.removeprefix("place_")]["uses"][item]
        if material in where and creature is None and env.player.inventory[item] >= needed:
            yield action

    return follow


def _craft(env: Env, rng: np.random.Generator) -> Iterator[str]:
    """Places a table and makes tools at it, as far as the wood suffices."""
    yield from _put("place_table", "wood", ("grass", "sand", "path"))(env, rng)
    for tool in ("make_wood_pickaxe", "make_wood_sword"):
        nearby = "table" in env.world.nearby(env.player.pos, 1)[0]
        if nearby and env.player.inventory["wood"] and not env.player.achievements[tool]:
            yield tool


def _sleep(env: Env, rng: np.random.Generator) -> Iterator[str]:
    if env.player.inventory["energy"] < constants.items["energy"]["max"]:
        yield from ["sleep"] * 12


def _wander(env: Env, rng: np.random.Generator) -> Iterator[str]:
    """A few steps one way, until an obstacle or ground that is not WALKED at this time of day."""
    move = list(MOVES)[rng.integers(4)]
    for _ in range(rng.integers(1, 6)):
        material, creature = env.world[env.player.pos + move]
        if material not in WALKED[env.time] or creature is not None:
            break
        yield MOVES[move]
    else:
        return
    yield "noop"


# What each goal needs in reach, and what the player does with it.
GOALS: dict[str, tuple[str, Follow]] = {
    "chop": ("tree", _use),
    "dig": ("stone", _use),
    "coal": ("coal", _use),
    "drink": ("water", _use),
    "hunt": ("cow", _hunt),
    "bridge": ("water", _put("place_stone", "stone", ("water",))),
    "wall": ("grass", _put("place_stone", "stone", ("grass",))),
    "plant": ("grass", _put("place_plant", "sapling", ("grass",))),
    "craft": ("grass", _craft),
    "sleep": ("grass", _sleep),
}
