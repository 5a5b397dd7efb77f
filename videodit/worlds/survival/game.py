"""Crafter, and the player in it: where clips start, and what the player does to reach its goals."""

from collections import deque
from collections.abc import Iterator
from itertools import product

import crafter
import numpy as np
from crafter import constants, objects
from opensimplex import internals

AREA = 32  # tiles, both ways
TILE = 16  # pixels: the size of Crafter's textures
DAYLIGHT = {"day": 1.0, "dusk": 0.5, "night": 0.15}
WALKED = {"day": ("grass", "sand", "path"), "dusk": ("grass", "sand"), "night": ("grass", "path")}
HELD_OUT = (("dusk", "path"), ("night", "sand"))
CREATURES = {objects.Cow: "cow", objects.Zombie: "zombie", objects.Skeleton: "skeleton"}
MOVES = {(-1, 0): "move_left", (1, 0): "move_right", (0, -1): "move_up", (0, 1): "move_down"}
NEAR = 4  # steps at most from the start to what the goal needs


# Most of the time of a clip is the noise that its world is made of. Python reads lists faster than
# arrays: this halves it. Where numba is installed, opensimplex is compiled and reads arrays only.
if not hasattr(internals._extrapolate3, "py_func"):
    internals.GRADIENTS3 = np.asarray(internals.GRADIENTS3).tolist()


class Env(crafter.Env):
    """Crafter at a fixed time of the day, with an order of creatures that does not change."""

    def __init__(self, seed: int, tiles: tuple[int, int], time: str):
        self.time = time
        size = (tiles[0] * TILE, tiles[1] * TILE)
        super().__init__(area=(AREA, AREA), view=tiles, size=size, seed=seed)
        self.picture = self.reset()

    def act(self, action: str) -> None:
        self.picture = self.step(constants.actions.index(action))[0]

    def _update_time(self):
        self._world.daylight = DAYLIGHT[self.time]

    def _balance_chunk(self, chunk, objs):
        super()._balance_chunk(chunk, sorted(objs, key=lambda one: tuple(one.pos)))

    @property
    def player(self) -> objects.Player:
        return self._player

    @property
    def world(self):
        return self._world

    def seen(self) -> dict[tuple[int, int], str]:
        """What each visible tile shows but for the player, by its place in the picture."""
        grid = self._local_view._grid
        corner = self.player.pos - grid // 2
        tiles = {}
        for place in product(range(grid[0]), range(grid[1])):
            material, creature = self._world[corner + place]
            tiles[place] = CREATURES.get(type(creature), material)
        return tiles


def start(
    rng: np.random.Generator, tiles: tuple[int, int], combinations: str
) -> tuple[Env, list[str]]:
    """A world in which the player stands close to what the first of its goals needs."""
    while True:
        if combinations == "held_out":
            time, ground = HELD_OUT[rng.integers(len(HELD_OUT))]
            grounds = (ground,)
        else:
            time = str(rng.choice(list(DAYLIGHT), p=(0.5, 0.25, 0.25)))
            grounds = WALKED[time]
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


def _equip(player: objects.Player, rng: np.random.Generator) -> None:
    """What the goals use up, so that they can be followed at once."""
    bag = player.inventory
    bag.update(wood=int(rng.integers(2, 6)), stone=int(rng.integers(1, 6)), sapling=1)
    bag.update(food=int(rng.integers(2, 4)), drink=int(rng.integers(2, 6)))
    bag.update(wood_pickaxe=1, stone_pickaxe=1, energy=int(rng.integers(3, 9)))


def _starting_place(
    env: Env, target: str, grounds: tuple[str, ...], rng: np.random.Generator
) -> tuple[int, int] | None:
    """A free tile of these grounds from which a target can be walked to in a few steps."""
    for place in rng.permutation(list(product(range(4, AREA - 4), repeat=2))).tolist():
        material, creature = env.world[place]
        if material in grounds and creature is None:
            way = _way(env, tuple(place), lambda tile: _shows(env, tile, target))
            if way is not None and len(way) <= NEAR:
                return tuple(place)
    return None


def _shows(env: Env, tile: tuple[int, int], target: str) -> bool:
    material, creature = env.world[tile]
    if creature is not None:
        return CREATURES.get(type(creature)) == target
    return material == target


def _way(env: Env, start: tuple[int, int], wanted) -> list[tuple[int, int]] | None:
    """The shortest moves to a tile next to one that is wanted, and the move towards that one."""
    queue, ways = deque([start]), {start: []}
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
    """The player's actions: one goal after the other, with walks between."""
    while True:
        for goal in goals:
            target, follow = GOALS[goal]
            for _ in range(rng.integers(1, 4)):
                yield from _approach(env, target)
                yield from follow(env, rng)
            yield from _wander(env, rng)


def _approach(env: Env, target: str) -> Iterator[str]:
    """Walks up to the nearest target and faces it; gives up where there is none."""
    for _ in range(3 * NEAR):
        place, facing = tuple(env.player.pos.tolist()), tuple(env.player.facing)
        way = _way(env, place, lambda tile: _shows(env, tile, target))
        if way is None or way == [facing]:
            return
        yield MOVES[way[0]]


def _faces(env: Env) -> tuple[str | None, object]:
    """(material, creature) in front of the player."""
    return env.world[env.player.pos + env.player.facing]


def _use(env: Env, rng: np.random.Generator) -> Iterator[str]:
    if _faces(env)[0] in ("tree", "water", "stone", "coal", "iron"):
        yield "do"


def _hunt(env: Env, rng: np.random.Generator) -> Iterator[str]:
    for _ in range(12):
        if not isinstance(_faces(env)[1], objects.Cow):
            yield from _approach(env, "cow")
        if not isinstance(_faces(env)[1], objects.Cow):
            return
        eaten = env.player.achievements["eat_cow"]
        yield "do"
        if env.player.achievements["eat_cow"] > eaten:
            return


def _put(action: str, item: str, where: tuple[str, ...]):
    def follow(env: Env, rng: np.random.Generator) -> Iterator[str]:
        material, creature = _faces(env)
        needed = constants.place[action.removeprefix("place_")]["uses"][item]
        if material in where and creature is None and env.player.inventory[item] >= needed:
            yield action

    return follow


def _craft(env: Env, rng: np.random.Generator) -> Iterator[str]:
    yield from _put("place_table", "wood", ("grass", "sand", "path"))(env, rng)
    for tool in ("make_wood_pickaxe", "make_wood_sword"):
        nearby = "table" in env.world.nearby(env.player.pos, 1)[0]
        if nearby and env.player.inventory["wood"] and not env.player.achievements[tool]:
            yield tool


def _sleep(env: Env, rng: np.random.Generator) -> Iterator[str]:
    if env.player.inventory["energy"] < constants.items["energy"]["max"]:
        yield from ["sleep"] * 12


def _wander(env: Env, rng: np.random.Generator) -> Iterator[str]:
    """A few steps one way, as far as it is free, but never where the time of day forbids it."""
    move = list(MOVES)[rng.integers(4)]
    for _ in range(rng.integers(1, 6)):
        material, creature = env.world[env.player.pos + move]
        if material not in WALKED[env.time] or creature is not None:
            break
        yield MOVES[move]
    else:
        return
    yield "noop"


# What a goal needs in reach, and what is done with it.
GOALS = {
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
