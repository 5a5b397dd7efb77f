"""Maze: first person in ViZDoom, in a hall with things, a door, and a room behind it.

Each clip has a map of its own. The player walks, turns, looks away and back, or opens the door.
ViZDoom draws at 400 x 225 or 400 x 300 pixels; pictures are cut to the aspect about their middle
and averaged over areas. The simulation runs at 35 tics a second: frame k shows the tic before
k / fps seconds. Equal seeds give equal frames.
"""

import numpy as np

from videodit.worlds.grids import resized
from videodit.worlds.maze import captions, detector
from videodit.worlds.maze.facts import facts
from videodit.worlds.maze.game import play
from videodit.worlds.maze.scene import HELD_OUT, Scene, draw_scene
from videodit.worlds.world import Clip, Detection, Shape, Slots, check_choices

TICS_PER_SECOND = 35


class Maze:
    """Implements `World`."""

    name = "maze"
    scenes: tuple[str, ...] = ("all",)

    def make(
        self, seed: int, shape: Shape, combinations: str = "seen", scenes: str = "all"
    ) -> Clip:
        """See World. Another size of the same aspect, rate and length shows the same."""
        check_choices(self, combinations, scenes)
        held_out = combinations == "held_out"
        rng = np.random.default_rng((seed, held_out))
        scene, pictures, states = _played(rng, shape, held_out)
        frames = np.stack([resized(picture, shape.width, shape.height) for picture in pictures])
        slots = {"walls": scene.walls[0], "floor": scene.floors[0], **facts(states)}
        short, long = (captions.write(rule, slots, rng) for rule in ("short", "long"))
        return Clip(frames, shape.fps, states, short, long, slots)

    def parse(self, text: str) -> Slots:
        """See World."""
        return captions.read(text)

    def detect(self, frames: np.ndarray, fps: float) -> dict[str, Detection]:
        """See World."""
        return detector.detect(frames)


def _played(
    rng: np.random.Generator, shape: Shape, held_out: bool
) -> tuple[Scene, list[np.ndarray], list[dict]]:
    """The first drawn scene that shows a thing at the start; its pictures and states."""
    aspect = shape.width / shape.height
    shown = [int(k / shape.fps * TICS_PER_SECOND + 1e-6) for k in range(shape.frames)]
    while True:
        scene = draw_scene(rng, aspect, shown[-1], held_out)
        if scene.things:
            pictures, states = play(scene, shown, aspect)
            if _shows(states[0], held_out):
                return scene, pictures, states


def _shows(state: dict, held_out: bool) -> bool:
    """Whether a thing is in view; with `held_out`, a thing of HELD_OUT."""
    pairs = {(one["color"], one["kind"]) for one in state["things"]}
    return bool(pairs & set(HELD_OUT) if held_out else pairs)


WORLD = Maze()
