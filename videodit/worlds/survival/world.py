"""Survival: Crafter, a world of tiles seen from above, played by an agent that has goals.

The picture is a grid of tiles around the player, over the inventory; how many tiles there are
follows from the aspect. Pictures are averaged over areas, from 16 pixels a tile, and stretched by
at most a ninth for aspects of 1:3 to 3:1. Six steps are a second. A clip starts close to what its
first goal needs. Its daylight stays as it is, and creatures are visited in the order of their
positions: Crafter's own order changes from run to run. With the locked versions, equal seeds then
give equal frames.

"seen" clips never show a player on sand at night, or on a path at dusk.
"""

from itertools import pairwise, product

import numpy as np
from crafter import constants

from videodit.worlds.grids import (
    NUMBERS,
    event_slots,
    heading,
    resized,
    steps_shown,
    walks,
)
from videodit.worlds.survival import captions
from videodit.worlds.survival.game import CREATURES, Env, policy, start
from videodit.worlds.world import Clip, Detection, Shape, Slots, check_combinations

TILES = 63  # about as many show the world
ITEMS = len(constants.items)
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


class Survival:
    """See above."""

    name = "survival"

    def make(self, seed: int, shape: Shape, combinations: str = "seen") -> Clip:
        """See World. The same aspect, rate and length at another size shows the same."""
        check_combinations(combinations)
        rng = np.random.default_rng((seed, combinations == "held_out"))
        env, goals = start(rng, grid_of(shape.width, shape.height), combinations)
        shown = steps_shown(shape)
        around = near(list(env.seen().values()))
        actions = policy(env, goals, rng)
        pictures, states = [env.picture], [_state(env)]
        for _ in range(shown[-1]):
            env.act(next(actions))
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
        from videodit.worlds.survival import (
            detector as survival_detector,  # which stands on this file
        )

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


WORLD = Survival()
