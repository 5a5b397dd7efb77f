"""Stage: objects that move in a textured 3D scene, seen by a moving camera, drawn by Panda3D.

Equal seeds give equal frames.
"""

import numpy as np

from videodit.worlds.stage import captions, detector
from videodit.worlds.stage.facts import slots_of, states_of
from videodit.worlds.stage.render import render
from videodit.worlds.stage.scene import draw_scene
from videodit.worlds.world import Clip, Detection, Shape, Slots, check_choices

STREAM = 0x57A6E  # keeps this world's random numbers apart from others of the same seed


class Stage:
    """Implements `World`."""

    name = "stage"
    scenes: tuple[str, ...] = ("all",)

    def make(
        self, seed: int, shape: Shape, combinations: str = "seen", scenes: str = "all"
    ) -> Clip:
        """See World. Another size of the same aspect, rate and length shows the same."""
        check_choices(self, combinations, scenes)
        held_out = combinations == "held_out"
        rng = np.random.default_rng((STREAM, seed, held_out))
        scene = draw_scene(rng, shape, held_out)
        states = states_of(scene, shape)
        slots = slots_of(scene, shape, states)
        short, long = (captions.write(rule, slots, rng) for rule in ("short", "long"))
        return Clip(render(scene, shape), shape.fps, states, short, long, slots)

    def parse(self, text: str) -> Slots:
        """See World."""
        return captions.read(text)

    def detect(self, frames: np.ndarray, fps: float) -> dict[str, Detection]:
        """See World."""
        return detector.detect(frames, fps)


WORLD = Stage()
