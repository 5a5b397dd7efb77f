"""Sprites: flat shapes of one colour that move, bounce, hide each other, leave and come back, and
strokes that a brush paints. It needs no simulator: numpy draws it. facts.py lists the slots.
"""

import numpy as np

from videodit.worlds.sprites import captions, detector
from videodit.worlds.sprites.drawing import Drawn, Stroke, render
from videodit.worlds.sprites.facts import slots_of, states_of
from videodit.worlds.sprites.scene import Scene, draw_scene
from videodit.worlds.sprites.space import ROLES
from videodit.worlds.world import Clip, Detection, Shape, Slots, check_choices


class Sprites:
    """Implements `World`."""

    name = "sprites"
    scenes: tuple[str, ...] = ("all", "one")

    def make(
        self, seed: int, shape: Shape, combinations: str = "seen", scenes: str = "all"
    ) -> Clip:
        """See World. Another size of the same aspect, rate and length shows the same."""
        check_choices(self, combinations, scenes)
        held_out = combinations == "held_out"
        rng = np.random.default_rng((seed, held_out))
        scene = draw_scene(rng, shape, held_out, single=scenes == "one")
        roles = _roles(rng, scene)
        slots = slots_of(scene, roles, shape)
        states = states_of(scene, roles, shape)
        short, long = (captions.write(rule, slots, rng) for rule in ("short", "long"))
        return Clip(_frames(scene, shape), shape.fps, states, short, long, slots)

    def parse(self, text: str) -> Slots:
        """See World."""
        return captions.read(text)

    def detect(self, frames: np.ndarray, fps: float) -> dict[str, Detection]:
        """See World."""
        return detector.detect(frames, fps)


def _roles(rng: np.random.Generator, scene: Scene) -> list[str]:
    """A role for each actor, at random; actors that meet are a and b, as captions expect."""
    roles = rng.permutation(list(ROLES[: len(scene.actors)])).tolist()
    if len(roles) == 3 and any("other" in actor.facts for actor in scene.actors):
        return [*rng.permutation(list(ROLES[:2])).tolist(), ROLES[2]]
    return roles


def _frames(scene: Scene, shape: Shape) -> np.ndarray:
    """The drawn scene: uint8 T H W 3."""
    side = min(shape.width, shape.height)
    strokes = [
        Stroke(line.color, line.half_width * side, tuple(np.multiply(line.start, side)), tips)
        for line, tips in ((line, line.tips * side) for line in scene.lines)
    ]
    sprites = [
        Drawn(actor.kind, actor.color, actor.radius * side, actor.centres * side)
        for actor in scene.actors
    ]
    return render(shape.width, shape.height, scene.background, strokes, sprites)


WORLD = Sprites()
