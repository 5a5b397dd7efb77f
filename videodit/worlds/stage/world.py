"""The stage: objects that move in a textured 3D scene before a moving camera (Panda3D)."""

import numpy as np

from videodit.worlds.stage import captions as stage_captions
from videodit.worlds.stage import detector as stage_detector
from videodit.worlds.stage.facts import slots_of, states_of
from videodit.worlds.stage.render import render
from videodit.worlds.stage.scene import draw_scene
from videodit.worlds.world import Clip, Detection, Shape, Slots, check_combinations

STREAM = 0x57A6E  # sets this world's draws apart from others of the same seed


class Stage:
    """See videodit.worlds.world.World."""

    name = "stage"

    def make(self, seed: int, shape: Shape, combinations: str = "seen") -> Clip:
        """A clip; "held_out" ones show a pair of colour and kind that "seen" ones never show.

        Raises ConfigError where the renderer cannot start.
        """
        check_combinations(combinations)
        held_out = combinations == "held_out"
        rng = np.random.default_rng((STREAM, seed, held_out))
        scene = draw_scene(rng, shape, held_out)
        states = states_of(scene, shape)
        slots = slots_of(scene, shape, states)
        short = stage_captions.write("short", slots, rng)
        long = stage_captions.write("long", slots, rng)
        return Clip(render(scene, shape), shape.fps, states, short, long, slots)

    def parse(self, text: str) -> Slots:
        """What a short or long caption claims. Raises ValueError naming what it cannot read."""
        return stage_captions.read(text)

    def detect(self, frames: np.ndarray, fps: float) -> dict[str, Detection]:
        """The slots that can be seen in frames (uint8 T H W 3, RGB)."""
        return stage_detector.detect(frames, fps)


WORLD = Stage()
