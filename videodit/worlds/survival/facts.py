"""The facts of a clip of survival, from the states of its frames.

A state is a dict of which these functions read

    position     [x, y]: the player's tile
    inventory    {item: count}, without zeros
    done         {Crafter's achievement: how often so far}
    sleeping     bool

The detector builds states of its own from pixels.
"""

from itertools import pairwise

from videodit.worlds.grids import NUMBERS, event_slots, walks
from videodit.worlds.survival.captions import HELD, THINGS
from videodit.worlds.world import Slots

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


def facts(states: list[dict]) -> Slots:
    """The player's events, in order, and what the player holds at the end."""
    events = _events(states)
    if not events and len(states) > 1:
        events = [{"verb": "stand"}]
    bag = states[-1]["inventory"]
    held = {f"holds.{item}": NUMBERS[bag[item]] for item in HELD if item in bag}
    return {**event_slots(events), **held}


def _events(states: list[dict]) -> list[Slots]:
    """The player's walks and deeds; a deed that is repeated at once is one event with `times`."""
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
    return events + walks(way)


def _done(before: dict, after: dict) -> list[str]:
    """The verbs of what the player did between two states."""
    verbs = [
        verb
        for name, verb in VERBS.items()
        for _ in range(after["done"].get(name, 0) - before["done"].get(name, 0))
    ]
    return verbs + ["sleep"] * (after["sleeping"] and not before["sleeping"])


def near(seen: list[str]) -> Slots:
    """Slots that say how many tiles of a picture show each of THINGS. `seen`: what each shows."""
    return {f"near.{kind}": _amount(seen.count(kind)) for kind in THINGS if kind in seen}


def _amount(count: int) -> str:
    return {1: "one", 2: "two"}.get(count, "few" if count < 6 else "many")
