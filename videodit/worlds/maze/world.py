"""Maze: first person in ViZDoom, in a hall with things, a door, and a room behind it.

The map is written for each clip. Who sees it walks, turns, looks away and back, or opens the door.
Pictures are drawn at 400 x 225 or 400 x 300 pixels, cut to the aspect in the middle and averaged
over areas. The simulation runs at 35 tics a second: frame k shows the tic before k / fps seconds.
Equal seeds give equal frames.

"seen" clips never show the colours and kinds of HELD_OUT together.
"""

import math
from itertools import pairwise

import numpy as np

from videodit.worlds.grids import event_slots, resized
from videodit.worlds.maze import captions
from videodit.worlds.maze.game import FLOORS, REACH, START, THINGS, WALLS, Plan, play
from videodit.worlds.maze.map import LENGTH, WIDTH
from videodit.worlds.world import Clip, Detection, Shape, Slots, check_combinations

TICS_PER_SECOND = 35
VIEW = math.tan(math.radians(45))  # half the width of what is seen at distance 1, at 4:3
HELD_OUT = (("green", "torch"), ("red", "pillar"))
MOST = 3  # things in front of the player at first
AISLE = 72  # units to either side of the way to the door where nothing stands
APART = math.radians(8)  # between two things, as the player sees them
MOVED, TURNED = 2.0, 0.5  # units, degrees: less from frame to frame is standing
PROGRAMS = ("walk", "back off", "turn", "look away", "walk and turn", "open", "stand")


class Maze:
    """See above."""

    name = "maze"

    def make(self, seed: int, shape: Shape, combinations: str = "seen") -> Clip:
        """See World. The same aspect, rate and length at another size shows the same."""
        check_combinations(combinations)
        rng = np.random.default_rng((seed, combinations == "held_out"))
        aspect = shape.width / shape.height
        shown = [int(k / shape.fps * TICS_PER_SECOND + 1e-6) for k in range(shape.frames)]
        while True:
            plan = _plan(rng, aspect, shown[-1], combinations)
            if plan.things:
                pictures, states = play(plan, shown, aspect)
                if _shows(states[0], combinations):
                    break
        frames = np.stack([resized(picture, shape.width, shape.height) for picture in pictures])
        slots = {"walls": plan.walls[0], "floor": plan.floors[0], **facts(states)}
        short, long = (captions.write(kind, slots, rng) for kind in ("short", "long"))
        return Clip(frames, shape.fps, states, short, long, slots)

    def parse(self, text: str) -> Slots:
        """See World."""
        return captions.read(text)

    def detect(self, frames: np.ndarray, fps: float) -> dict[str, Detection]:
        """See World."""
        from videodit.worlds.maze import detector as maze_detector  # which stands on this file

        return maze_detector.detect(frames)


def facts(states: list[dict]) -> Slots:
    """What is seen at first, what the player does, and what is lost from view and found again."""
    slots = {}
    for k, one in enumerate(states[0]["things"], 1):
        place = ("left", "middle", "right")[int(3 * min(one["x"], 0.999))]
        slots |= {f"t{k}.color": one["color"], f"t{k}.kind": one["kind"], f"t{k}.place": place}
    slots["things"] = captions.COUNTS[len(states[0]["things"])]
    if len(states) > 1:
        slots |= event_slots(events(states)) | _lost(states)
    return slots


def _shows(state: dict, combinations: str) -> bool:
    """Whether anything is seen, and where pairs are held out, one of them."""
    pairs = {(one["color"], one["kind"]) for one in state["things"]}
    return bool(pairs & set(HELD_OUT) if combinations == "held_out" else pairs)


def events(states: list[dict]) -> list[Slots]:
    """What the player does, in order, from the angles, places and door of the states."""
    done: list[Slots] = []
    for before, after in pairwise(states):
        turn = (after["angle"] - before["angle"] + 180) % 360 - 180
        ahead = math.radians(before["angle"])
        step = (after["x"] - before["x"]) * math.cos(ahead)
        step += (after["y"] - before["y"]) * math.sin(ahead)
        now = []
        if after["door"] > before["door"] == 0:
            now.append({"verb": "open"})
        if abs(turn) > TURNED:
            now.append({"verb": "turn", "side": "left" if turn > 0 else "right"})
        elif abs(step) > MOVED:
            now.append({"verb": "walk" if step > 0 else "back off"})
        done += [event for event in now if event not in done[-1:]]
    return done or [{"verb": "stand"}]


def _lost(states: list[dict]) -> Slots:
    """The first thing that leaves the view of who only turns, and whether it comes back."""
    turned = [s for s in states if abs(s["x"] - states[0]["x"]) < MOVED]
    for one in states[0]["things"]:
        name = (one["color"], one["kind"])
        seen = [any((t["color"], t["kind"]) == name for t in s["things"]) for s in turned]
        if not all(seen):
            back = "yes" if seen[-1] and len(turned) == len(states) else "no"
            if back == "yes" or not seen[-1]:
                return {"lost.color": name[0], "lost.kind": name[1], "lost.back": back}
    return {}


def _plan(rng: np.random.Generator, aspect: float, tics: int, combinations: str) -> Plan:
    possible = PROGRAMS if tics >= 40 else PROGRAMS[:5] if tics >= 12 else PROGRAMS[:3]
    program = str(rng.choice(possible))
    distance = float(min(rng.uniform(60, 260), 6 * tics))
    starts = {"open": LENGTH - REACH - min(distance, 1.5 * tics), "back off": START + distance}
    start = starts.get(program, START)
    pairs = [pair for pair in THINGS if pair not in HELD_OUT]
    pairs = [pairs[k] for k in rng.permutation(len(pairs))[: rng.integers(1, MOST + 1)]]
    if combinations == "held_out":
        pairs[0] = HELD_OUT[rng.integers(len(HELD_OUT))]
    walls = [str(name) for name in rng.permutation(list(WALLS))[:2]]
    floors = [str(name) for name in rng.permutation(list(FLOORS))[:2]]
    return Plan(
        start=start,
        things=_placed(rng, pairs, start, aspect),
        walls=(walls[0], walls[1]),
        floors=(floors[0], floors[1]),
        program=program,
        side=int(rng.choice((-1, 1))),
        angle=float(rng.uniform(50, 120)),
        distance=distance,
        tics=tics,
    )


def _placed(rng: np.random.Generator, pairs, start: float, aspect: float) -> list:
    """Things in view of the start, none before another, none in the aisle."""
    half = math.atan(VIEW * min(aspect / (4 / 3), 4 / 3))
    placed = []
    for pair in pairs:
        for _ in range(100):
            bearing, far = rng.uniform(-0.85 * half, 0.85 * half), rng.uniform(90, 480)
            x, y = start + far * math.cos(bearing), far * math.sin(bearing)
            inside = x < LENGTH - 40 and AISLE < abs(y) < WIDTH / 2 - 40
            clear = all(abs(bearing - math.atan2(v, u - start)) > APART for _, u, v in placed)
            if inside and clear:
                placed.append((pair, x, y))
                break
    return placed


WORLD = Maze()
