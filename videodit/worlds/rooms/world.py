"""Rooms: BabyAI, missions in rooms of tiles seen from above, solved by BabyAI's own bot.

One room, or up to three along the longer side of the picture: the number that fits the aspect best.
The picture has 16 pixels a tile, is padded with the grey of the walls to the asked aspect, and then
averaged over areas. Six steps are a second. A clip shows the mission from its start, or up to its
end; after the end the agent stands still. With the locked versions, equal seeds give equal frames.

"seen" clips never show the colours and kinds of HELD_OUT together.
"""

import contextlib
import io
from itertools import pairwise, product

import numpy as np
from minigrid.core.constants import COLOR_NAMES
from minigrid.envs.babyai.core import verifier
from minigrid.envs.babyai.core.roomgrid_level import RoomGridLevel
from minigrid.utils.baby_ai_bot import BabyAIBot

from videodit.worlds.grids import (
    NUMBERS,
    event_slots,
    resized,
    steps_shown,
    walks,
)
from videodit.worlds.rooms import captions
from videodit.worlds.world import Clip, Detection, Shape, Slots, check_combinations

TILE = 16  # pixels
WALL = 100  # level of grey around the rooms
KINDS = ("ball", "box", "key")
HELD_OUT = (
    ("red", "key"),
    ("blue", "ball"),
    ("green", "box"),
    ("yellow", "key"),
    ("purple", "ball"),
    ("grey", "box"),
)
PAIRS = [pair for pair in product(COLOR_NAMES, KINDS) if pair not in HELD_OUT]
FACINGS = ("right", "down", "left", "up")  # by MiniGrid's number
LONGEST = 60  # steps of a mission
MOST = 5  # things in a picture


class Level(RoomGridLevel):
    """Rooms in a row, with objects that are all different and a mission about some of them."""

    def __init__(self, layout: tuple[int, int], size: int, combinations: str):
        """`layout`: (columns, rows) of rooms; `size`: tiles of a room both ways, with its walls."""
        self.combinations, self.task = combinations, {}
        super().__init__(room_size=size, num_cols=layout[0], num_rows=layout[1])

    def gen_mission(self):
        colors = self._rand_subset(COLOR_NAMES, len(COLOR_NAMES))
        doors = [self._join(k, colors.pop()) for k in range(self.num_cols * self.num_rows - 1)]
        self.place_agent()
        pairs = self._rand_subset(PAIRS, self._rand_int(2, MOST + 1))
        if self.combinations == "held_out":
            pairs[0] = self._rand_elem(HELD_OUT)
        things = [self._put(color, kind) for color, kind in pairs]
        self.task, first = self._mission("m1", things, doors)
        self.instrs = first
        if self._rand_bool():
            task, second = self._mission("m2", things, doors)
            if task["m2.color"] != self.task["m1.color"]:
                self.task |= task
                self.instrs = verifier.BeforeInstr(first, second)

    def _join(self, k: int, color: str):
        """A closed door between room k and the next one."""
        across = self.num_cols > 1
        column, row = (k, 0) if across else (0, k)
        return self.add_door(column, row, 0 if across else 1, color, False)[0]

    def _put(self, color: str, kind: str):
        column, row = self._rand_int(0, self.num_cols), self._rand_int(0, self.num_rows)
        return self.add_object(column, row, kind, color)[0]

    def _mission(self, name: str, things: list, doors: list) -> tuple[Slots, verifier.Instr]:
        """A mission's slots, and BabyAI's check of it."""
        goal = self._rand_elem(["go", "take", "put", "open"] if doors else ["go", "take", "put"])
        one, other = self._rand_subset(things, 2)
        if goal == "open":
            one = self._rand_elem(doors)
        task = {f"{name}.goal": goal, f"{name}.color": one.color, f"{name}.kind": one.type}
        target = verifier.ObjDesc(one.type, one.color)
        if goal == "put":
            task |= {f"{name}.by.color": other.color, f"{name}.by.kind": other.type}
            return task, verifier.PutNextInstr(target, verifier.ObjDesc(other.type, other.color))
        instruction = {
            "go": verifier.GoToInstr,
            "take": verifier.PickupInstr,
            "open": verifier.OpenInstr,
        }[goal]
        return task, instruction(target)


class Rooms:
    """See above."""

    name = "rooms"

    def make(self, seed: int, shape: Shape, combinations: str = "seen") -> Clip:
        """See World. The same aspect, rate and length at another size shows the same."""
        check_combinations(combinations)
        rng = np.random.default_rng((seed, combinations == "held_out"))
        shown = steps_shown(shape)
        pictures, states, task = _episode(rng, layout_of(shape.width, shape.height), combinations)
        spare = max(len(states) - 1 - shown[-1], 0)
        start = spare * int(rng.integers(2)) if combinations == "seen" else 0
        shown = [min(start + k, len(states) - 1) for k in shown]
        sized = {k: fitted(pictures[k], shape.width, shape.height) for k in set(shown)}
        frames = np.stack([sized[k] for k in shown])
        states = [states[k] for k in shown]
        slots = facts(states) | (task if len(states) > 1 else {})
        if len(states) > 1:
            slots["solved"] = "yes" if states[-1]["solved"] else "no"
        short, long = (captions.write(kind, slots, rng) for kind in ("short", "long"))
        return Clip(frames, shape.fps, states, short, long, slots)

    def parse(self, text: str) -> Slots:
        """See World."""
        return captions.read(text)

    def detect(self, frames: np.ndarray, fps: float) -> dict[str, Detection]:
        """See World."""
        from videodit.worlds.rooms import detector as rooms_detector  # which stands on this file

        return rooms_detector.detect(frames)


def layout_of(width: int, height: int) -> tuple[int, int]:
    """(columns, rows) of rooms in a picture of this size."""
    layouts = [(1, 1), (2, 1), (3, 1), (1, 2), (1, 3)]
    return min(layouts, key=lambda layout: abs(np.log(layout[0] / layout[1] * height / width)))


def room_sizes(layout: tuple[int, int]) -> tuple[int, ...]:
    """How many tiles a room may measure: fewer where there are more rooms."""
    return (6, 7, 8) if layout == (1, 1) else (5, 6)


def margins(width: int, height: int, columns: int, rows: int) -> tuple[int, int]:
    """Pixels of wall at (the left and right, the top and bottom) of columns x rows tiles."""
    across, down = columns * TILE, rows * TILE
    return (
        max(round((down * width / height - across) / 2), 0),
        max(round((across * height / width - down) / 2), 0),
    )


def fitted(picture: np.ndarray, width: int, height: int) -> np.ndarray:
    """A picture of whole tiles (uint8 H W 3), padded with wall to an aspect and resized."""
    rows, columns = (size // TILE for size in picture.shape[:2])
    x, y = margins(width, height, columns, rows)
    padded = np.pad(picture, ((y, y), (x, x), (0, 0)), constant_values=WALL)
    return resized(padded, width, height)


def facts(states: list[dict]) -> Slots:
    """What the first state shows, what happens after it, and what the agent faces at the end."""
    first, last = states[0], states[-1]
    things = [one for one in first["objects"] if one["kind"] != "door"]
    doors = [one for one in first["objects"] if one["kind"] == "door"]
    things, doors = things[:MOST], doors[:MOST]  # a detector may take noise for things
    slots = {"rooms": NUMBERS[len(doors) + 1], "things": NUMBERS[len(things)]}
    slots |= {"agent.facing": first["facing"], "agent.place": _place(first["position"], first)}
    for k, one in enumerate(things, 1):
        slots |= {f"o{k}.color": one["color"], f"o{k}.kind": one["kind"]}
        slots |= {f"o{k}.place": _place(one["tile"], first)}
    for k, one in enumerate(doors, 1):
        slots |= {f"d{k}.color": one["color"], f"d{k}.state": one["state"]}
    if len(states) == 1:
        return slots
    faced = _faced(last)
    if faced:
        slots |= {"f.color": faced["color"], "f.kind": faced["kind"]}
    return slots | event_slots(_events(states))


def _events(states: list[dict]) -> list[Slots]:
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
    doors = [
        [one for one in state["objects"] if one["kind"] == "door"] for state in (before, after)
    ]
    for was, now in zip(*doors):
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
    step = {"right": (1, 0), "down": (0, 1), "left": (-1, 0), "up": (0, -1)}[state["facing"]]
    front = [state["position"][0] + step[0], state["position"][1] + step[1]]
    return next((one for one in state["objects"] if one["tile"] == front), None)


def _episode(
    rng: np.random.Generator, layout: tuple[int, int], combinations: str
) -> tuple[list[np.ndarray], list[dict], Slots]:
    """(pictures, states, the mission's slots) of every step of a mission that the bot solves."""
    while True:
        level = Level(layout, int(rng.choice(room_sizes(layout))), combinations)
        with contextlib.redirect_stdout(io.StringIO()):  # rejected drafts are told there
            level.reset(seed=int(rng.integers(2**31 - 1)))
        pictures, states = [_picture(level)], [_state(level, False)]
        bot, solved = BabyAIBot(level), False
        while not solved and len(states) <= LONGEST:
            reward, solved = level.step(bot.replan())[1:3]
            pictures.append(_picture(level))
            states.append(_state(level, solved))
        if solved and reward > 0:
            return pictures, states, level.task


def _picture(level: Level) -> np.ndarray:
    return level.grid.render(TILE, level.agent_pos, level.agent_dir)


def _state(level: Level, solved: bool) -> dict:
    grid, held = level.grid, level.carrying
    return {
        "grid": [grid.width, grid.height],
        "position": [int(x) for x in level.agent_pos],
        "facing": FACINGS[level.agent_dir],
        "carries": {"color": held.color, "kind": held.type} if held else None,
        "objects": [
            describe(grid.get(x, y), x, y)
            for y, x in product(range(grid.height), range(grid.width))
            if grid.get(x, y) is not None and grid.get(x, y).type != "wall"
        ],
        "solved": bool(solved),
    }


def describe(thing, x: int, y: int) -> dict:
    """An object of MiniGrid's as it stands in a state."""
    state = {"state": "open" if thing.is_open else "closed"} if thing.type == "door" else {}
    return {"color": thing.color, "kind": thing.type, "tile": [x, y], **state}


WORLD = Rooms()
