"""The facts of a clip of rooms, from the states of its frames.

A state is a dict:

    grid        [columns, rows] of tiles
    position    [x, y]: the agent's tile
    facing      one of FACINGS
    carries     {"color", "kind"} or None
    objects     one dict each, see `describe`

The detector builds states of its own from pixels.
"""

from itertools import pairwise

from minigrid.core.world_object import Door, WorldObj

from videodit.worlds.grids import NUMBERS, event_slots, walks
from videodit.worlds.world import Slots

FACINGS = ("right", "down", "left", "up")  # by MiniGrid's number
STEPS = {"right": (1, 0), "down": (0, 1), "left": (-1, 0), "up": (0, -1)}
MOST = 5  # things in a picture


def describe(thing: WorldObj | Door, x: int, y: int) -> dict:
    """A MiniGrid object on tile (x, y) as an entry of a state's "objects"."""
    state = {"state": "open" if thing.is_open else "closed"} if isinstance(thing, Door) else {}
    return {"color": thing.color, "kind": thing.type, "tile": [x, y], **state}


def facts(states: list[dict]) -> Slots:
    """What the first state shows, the agent's events, and what the agent faces at the end."""
    slots = _first_facts(states[0])
    if len(states) == 1:
        return slots
    faced = _faced(states[-1])
    if faced:
        slots |= {"f.color": faced["color"], "f.kind": faced["kind"]}
    return slots | event_slots(_events(states))


def _first_facts(first: dict) -> Slots:
    """The rooms, the agent, and at most MOST things and doors: a detector may see too many."""
    things = [one for one in first["objects"] if one["kind"] != "door"][:MOST]
    doors = _doors(first)[:MOST]
    slots = {"rooms": NUMBERS[len(doors) + 1], "things": NUMBERS[len(things)]}
    slots |= {"agent.facing": first["facing"], "agent.place": _place(first["position"], first)}
    for k, one in enumerate(things, 1):
        slots |= {f"o{k}.color": one["color"], f"o{k}.kind": one["kind"]}
        slots |= {f"o{k}.place": _place(one["tile"], first)}
    for k, one in enumerate(doors, 1):
        slots |= {f"d{k}.color": one["color"], f"d{k}.state": one["state"]}
    return slots


def _doors(state: dict) -> list[dict]:
    return [one for one in state["objects"] if one["kind"] == "door"]


def _events(states: list[dict]) -> list[Slots]:
    """The agent's walks, and what it does between them, in order."""
    events: list[Slots] = []
    way = [states[0]["position"]]
    for before, after in pairwise(states):
        for event in _changes(before, after):
            events += [*walks(way), event]
            way = [before["position"]]
        way.append(after["position"])
    events += walks(way)
    turned = any(one["facing"] != states[0]["facing"] for one in states)
    return events or [{"verb": "turn" if turned else "stand"}]


def _changes(before: dict, after: dict) -> list[Slots]:
    """What the agent took, put down, opened or closed between two states."""
    held, holds = before["carries"], after["carries"]
    changes = []
    if held and held != holds:
        changes.append({"verb": "drop", **held})
    if holds and held != holds:
        changes.append({"verb": "take", **holds})
    for was, now in zip(_doors(before), _doors(after)):
        if was["state"] != now["state"]:
            verb = "open" if now["state"] == "open" else "close"
            changes.append({"verb": verb, "color": now["color"], "kind": "door"})
    return changes


def _place(tile: list[int], state: dict) -> str:
    """Where in the picture a tile lies: "top left", "middle", ..."""
    columns, rows = state["grid"]
    across = ("left", "", "right")[3 * tile[0] // columns]
    down = ("top", "", "bottom")[3 * tile[1] // rows]
    return f"{down} {across}".strip() or "middle"


def _faced(state: dict) -> dict | None:
    """The object right in front of the agent."""
    x, y = STEPS[state["facing"]]
    front = [state["position"][0] + x, state["position"][1] + y]
    return next((one for one in state["objects"] if one["tile"] == front), None)
