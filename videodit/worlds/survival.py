"""Survival: Crafter, a world of tiles seen from above, played by an agent that has goals.

The picture is a grid of tiles around the player, over the inventory; how many tiles there are
follows from the aspect. Pictures are averaged over areas, from 16 pixels a tile, and stretched by
at most a ninth for aspects of 1:3 to 3:1. Six steps are a second. A clip starts close to what its
first goal needs. Its daylight stays as it is, and creatures are visited in the order of their
positions: Crafter's own order changes from run to run. With the locked versions, equal seeds then
give equal frames.

"seen" clips never show a player on sand at night, or on a path at dusk.
"""

from collections import deque
from collections.abc import Iterator
from itertools import pairwise, product

import crafter
import numpy as np
from crafter import constants, objects

from videodit.worlds import survival_captions as captions
from videodit.worlds.grids import (
    NUMBERS,
    event_slots,
    heading,
    resized,
    steps_shown,
    walks,
)
from videodit.worlds.world import Clip, Detection, Shape, Slots, check_combinations

AREA = 32  # tiles, both ways
TILE = 16  # pixels: the size of Crafter's textures
TILES = 63  # about as many show the world
ITEMS = len(constants.items)
DAYLIGHT = {"day": 1.0, "dusk": 0.5, "night": 0.15}
WALKED = {"day": ("grass", "sand", "path"), "dusk": ("grass", "sand"), "night": ("grass", "path")}
HELD_OUT = (("dusk", "path"), ("night", "sand"))
CREATURES = {objects.Cow: "cow", objects.Zombie: "zombie", objects.Skeleton: "skeleton"}
MOVES = {(-1, 0): "move_left", (1, 0): "move_right", (0, -1): "move_up", (0, 1): "move_down"}
NEAR = 4  # steps at most from the start to what the goal needs
VERBS = {
    "collect_wood": "chop",
    "collect_stone": "mine stone",
    "collect_coal": "mine coal",
    "collect_iron": "mine iron",
    "collect_drink": "drink",
    "eat_cow": "eat cow",
    "place_stone": "place stone",
    "place_table": "place table",
    "place_plant": "plant",
    "make_wood_pickaxe": "make pickaxe",
    "make_wood_sword": "make sword",
}


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


class Survival:
    """See above."""

    name = "survival"

    def make(self, seed: int, shape: Shape, combinations: str = "seen") -> Clip:
        """See World. The same aspect, rate and length at another size shows the same."""
        check_combinations(combinations)
        rng = np.random.default_rng((seed, combinations == "held_out"))
        env, goals = _start(rng, grid_of(shape.width, shape.height), combinations)
        shown = steps_shown(shape)
        around = near(list(env.seen().values()))
        policy = _policy(env, goals, rng)
        pictures, states = [env.picture], [_state(env)]
        for _ in range(shown[-1]):
            env.act(next(policy))
            pictures.append(env.picture)
            states.append(_state(env))
        sized = {k: resized(pictures[k], shape.width, shape.height) for k in set(shown)}
        frames = np.stack([sized[k] for k in shown])
        states = [states[k] for k in shown]
        slots = {"time": env.time, "ground": states[0]["ground"], **around, **facts(states)}
        short, long = (captions.write(kind, slots, rng) for kind in ("short", "long"))
        return Clip(frames, shape.fps, states, short, long, slots)

    def parse(self, text: str) -> Slots:
        """See World."""
        return captions.read(text)

    def detect(self, frames: np.ndarray, fps: float) -> dict[str, Detection]:
        """See World."""
        from videodit.worlds import survival_detector  # which stands on this file

        return survival_detector.detect(frames)


def grid_of(width: int, height: int) -> tuple[int, int]:
    """(columns, rows) of tiles in a picture, the rows of the inventory included."""

    def misfit(tiles: tuple[int, int]) -> float:
        columns, rows = tiles
        stretch = abs(np.log(columns / rows * height / width))
        return 8 * stretch + abs(np.log(columns * (rows - item_rows(columns)) / TILES))

    sizes = [
        (columns, rows + item_rows(columns))
        for columns, rows in product(range(5, 24, 2), range(3, 16, 2))
    ]
    return min(sizes, key=misfit)


def item_rows(columns: int) -> int:
    """Rows of tiles that the inventory takes below the world."""
    return -(-ITEMS // columns)


def facts(states: list[dict]) -> Slots:
    """What happens in these states, in order, and what the player holds at the end."""
    events: list[Slots] = []
    way = [states[0]["position"]]
    for before, after in pairwise(states):
        for verb in _done(before, after):
            events += walks(way)
            way = [after["position"]]
            if events and events[-1]["verb"] == verb:
                times = NUMBERS.index(events[-1].get("times", "one")) + 1
                events[-1]["times"] = NUMBERS[min(times, 9)]
            else:
                events.append({"verb": verb})
        way.append(after["position"])
    events += walks(way)
    if not events and len(states) > 1:
        events = [{"verb": "stand"}]
    bag = states[-1]["inventory"]
    held = {f"holds.{item}": NUMBERS[bag[item]] for item in captions.HELD if item in bag}
    return {**event_slots(events), **held}


def _done(before: dict, after: dict) -> list[str]:
    """Verbs of what the player did between two states."""
    verbs = [
        verb
        for name, verb in VERBS.items()
        for _ in range(after["done"].get(name, 0) - before["done"].get(name, 0))
    ]
    return verbs + ["sleep"] * (after["sleeping"] and not before["sleeping"])


def _state(env: Env) -> dict:
    player = env.player
    corner = player.pos - env._local_view._grid // 2
    return {
        "position": player.pos.tolist(),
        "facing": heading(*player.facing),
        "ground": env.world[player.pos][0],
        "inventory": {name: n for name, n in player.inventory.items() if n},
        "done": {name: n for name, n in player.achievements.items() if n},
        "sleeping": bool(player.sleeping),
        "daylight": env.world.daylight,
        "creatures": [
            {"kind": CREATURES[type(one)], "tile": (one.pos - corner).tolist()}
            for one in env.world.objects
            if type(one) in CREATURES
        ],
    }


def near(seen: list[str]) -> Slots:
    """How many of the nameable things are among the tiles of a picture."""
    return {f"near.{kind}": _amount(seen.count(kind)) for kind in captions.THINGS if kind in seen}


def _amount(count: int) -> str:
    return {1: "one", 2: "two"}.get(count, "few" if count < 6 else "many")


def _start(
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


def _policy(env: Env, goals: list[str], rng: np.random.Generator) -> Iterator[str]:
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
WORLD = Survival()
