"""The facts of a maze clip, from the states of its frames.

A state is {"x", "y": units, "angle": degrees, "door": 0 (closed) to 1 (open), "things": [{"color",
"kind", "x": 0 to 1 across the picture}, ...]}. The detector builds states without things.
"""

import math
from itertools import pairwise

from videodit.worlds.grids import event_slots
from videodit.worlds.maze import captions
from videodit.worlds.world import Slots

MOVED, TURNED = 2.0, 0.5  # units, degrees: a smaller change between frames counts as standing
PLACES = ("left", "middle", "right")  # thirds of the picture


def facts(states: list[dict]) -> Slots:
    """The things in the first frame, the player's events, and a thing that leaves the view."""
    slots: Slots = {}
    for k, one in enumerate(states[0]["things"], 1):
        place = PLACES[int(3 * min(one["x"], 0.999))]
        slots |= {f"t{k}.color": one["color"], f"t{k}.kind": one["kind"], f"t{k}.place": place}
    slots["things"] = captions.COUNTS[len(states[0]["things"])]
    if len(states) > 1:
        slots |= event_slots(events(states)) | _lost(states)
    return slots


def events(states: list[dict]) -> list[Slots]:
    """What the player does, in order, from the angles, positions and door of the states."""
    done: list[Slots] = []
    for before, after in pairwise(states):
        done += [event for event in _changes(before, after) if event not in done[-1:]]
    return done or [{"verb": "stand"}]


def _changes(before: dict, after: dict) -> list[Slots]:
    """What the player does between two frames."""
    turn = (after["angle"] - before["angle"] + 180) % 360 - 180
    ahead = math.radians(before["angle"])
    step = (after["x"] - before["x"]) * math.cos(ahead)
    step += (after["y"] - before["y"]) * math.sin(ahead)
    changes = []
    if after["door"] > before["door"] == 0:
        changes.append({"verb": "open"})
    if abs(turn) > TURNED:
        changes.append({"verb": "turn", "side": "left" if turn > 0 else "right"})
    elif abs(step) > MOVED:
        changes.append({"verb": "walk" if step > 0 else "back off"})
    return changes


def _lost(states: list[dict]) -> Slots:
    """The first thing that leaves the view while the player only turns; whether it comes back."""
    turned = [s for s in states if abs(s["x"] - states[0]["x"]) < MOVED]
    for one in states[0]["things"]:
        name = (one["color"], one["kind"])
        seen = [any((t["color"], t["kind"]) == name for t in s["things"]) for s in turned]
        if not all(seen):
            back = "yes" if seen[-1] and len(turned) == len(states) else "no"
            if back == "yes" or not seen[-1]:
                return {"lost.color": name[0], "lost.kind": name[1], "lost.back": back}
    return {}
