"""BabyAI: a level with a mission, the bot that solves it, and what is seen of both.

"seen" clips never show the colours and kinds of HELD_OUT together.
"""

import contextlib
import io
from itertools import product
from typing import NamedTuple

import numpy as np
from minigrid.core.constants import COLOR_NAMES
from minigrid.core.world_object import WorldObj
from minigrid.envs.babyai.core import verifier
from minigrid.envs.babyai.core.roomgrid_level import RoomGridLevel
from minigrid.utils.baby_ai_bot import BabyAIBot

from videodit.worlds.rooms.facts import FACINGS, MOST, describe
from videodit.worlds.rooms.layout import TILE, room_sizes
from videodit.worlds.world import Slots

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
LONGEST = 60  # steps of a mission

INSTRUCTIONS = {
    "go": verifier.GoToInstr,
    "take": verifier.PickupInstr,
    "open": verifier.OpenInstr,
}


class Episode(NamedTuple):
    """A solved mission; pictures and states are one a step."""

    pictures: list[np.ndarray]  # uint8 H W 3, TILE pixels a tile
    states: list[dict]  # see facts.py; also "solved"
    task: Slots  # what the mission asks for


def play(rng: np.random.Generator, layout: tuple[int, int], held_out: bool) -> Episode:
    """The first drawn mission that the bot solves in LONGEST steps.

    `layout`: (columns, rows) of rooms. `held_out`: whether one thing is of HELD_OUT, or none.
    """
    while True:
        level = Level(layout, int(rng.choice(room_sizes(layout))), held_out)
        with contextlib.redirect_stdout(io.StringIO()):  # BabyAI prints which drafts it rejects
            level.reset(seed=int(rng.integers(2**31 - 1)))
        pictures, states = [_picture(level)], [_state(level, False)]
        bot, solved, reward = BabyAIBot(level), False, 0.0
        while not solved and len(states) <= LONGEST:
            reward, solved = level.step(bot.replan())[1:3]
            pictures.append(_picture(level))
            states.append(_state(level, solved))
        if solved and reward > 0:
            return Episode(pictures, states, level.task)


class Level(RoomGridLevel):
    """Rooms in a row, with objects that are all different and a mission about some of them."""

    def __init__(self, layout: tuple[int, int], size: int, held_out: bool):
        """`layout`: (columns, rows) of rooms; `size`: tiles of a room's side with its walls."""
        self.held_out = held_out
        self.task: Slots = {}
        super().__init__(room_size=size, num_cols=layout[0], num_rows=layout[1])

    def gen_mission(self) -> None:
        """Called by `reset`: builds rooms and objects, and sets the mission."""
        colors = self._rand_subset(COLOR_NAMES, len(COLOR_NAMES))
        doors = [self._join(k, colors.pop()) for k in range(self.num_cols * self.num_rows - 1)]
        self.place_agent()
        pairs = self._rand_subset(PAIRS, self._rand_int(2, MOST + 1))
        if self.held_out:
            pairs[0] = self._rand_elem(HELD_OUT)
        things = [self._put(color, kind) for color, kind in pairs]
        self.task, first = self._mission("m1", things, doors)
        self.instrs = first
        if self._rand_bool():
            task, second = self._mission("m2", things, doors)
            if task["m2.color"] != self.task["m1.color"]:
                self.task |= task
                self.instrs = verifier.BeforeInstr(first, second)

    def _join(self, k: int, color: str) -> WorldObj:
        """Puts a closed door between room k and the next one."""
        across = self.num_cols > 1
        column, row = (k, 0) if across else (0, k)
        return self.add_door(column, row, 0 if across else 1, color, False)[0]

    def _put(self, color: str, kind: str) -> WorldObj:
        """Puts a thing into a random room."""
        column, row = self._rand_int(0, self.num_cols), self._rand_int(0, self.num_rows)
        return self.add_object(column, row, kind, color)[0]

    def _mission(self, name: str, things: list, doors: list) -> tuple[Slots, verifier.Instr]:
        """A mission's slots, and the BabyAI instruction that checks it."""
        goal = self._rand_elem(["go", "take", "put", "open"] if doors else ["go", "take", "put"])
        one, other = self._rand_subset(things, 2)
        if goal == "open":
            one = self._rand_elem(doors)
        task = {f"{name}.goal": goal, f"{name}.color": one.color, f"{name}.kind": one.type}
        target = verifier.ObjDesc(one.type, one.color)
        if goal == "put":
            task |= {f"{name}.by.color": other.color, f"{name}.by.kind": other.type}
            return task, verifier.PutNextInstr(target, verifier.ObjDesc(other.type, other.color))
        return task, INSTRUCTIONS[goal](target)


def _picture(level: Level) -> np.ndarray:
    x, y = level.agent_pos
    return level.grid.render(TILE, (x, y), level.agent_dir)


def _state(level: Level, solved: bool) -> dict:
    grid, held = level.grid, level.carrying
    return {
        "grid": [grid.width, grid.height],
        "position": [int(x) for x in level.agent_pos],
        "facing": FACINGS[level.agent_dir],
        "carries": {"color": held.color, "kind": held.type} if held else None,
        "objects": [
            describe(thing, x, y)
            for y, x in product(range(grid.height), range(grid.width))
            if (thing := grid.get(x, y)) is not None and thing.type != "wall"
        ],
        "solved": bool(solved),
    }
