"""Survival: Crafter, a world of tiles seen from above, played by an agent that has goals.

The picture is a grid of tiles around the player, above the inventory; the number of tiles follows
from the aspect. Crafter draws 16 pixels a tile; pictures are averaged over areas, and stretched by
at most a ninth for aspects of 1:3 to 3:1. A second has six steps. A clip starts close to what its
first goal needs. The time of day does not change. Crafter visits creatures in an order that changes
from run to run; here they are visited by position. With the locked versions, equal seeds then give
equal frames.

"seen" clips never show a player on sand at night, or on a path at dusk.
"""

import numpy as np

from videodit.worlds.grids import resized, steps_shown
from videodit.worlds.survival import captions, detector
from videodit.worlds.survival.facts import facts, near
from videodit.worlds.survival.game import play
from videodit.worlds.survival.layout import grid_of
from videodit.worlds.world import Clip, Detection, Shape, Slots, check_choices


class Survival:
    """Implements `World`."""

    name = "survival"
    scenes: tuple[str, ...] = ("all",)

    def make(
        self, seed: int, shape: Shape, combinations: str = "seen", scenes: str = "all"
    ) -> Clip:
        """See World. Another size of the same aspect, rate and length shows the same."""
        check_choices(self, combinations, scenes)
        held_out = combinations == "held_out"
        rng = np.random.default_rng((seed, held_out))
        shown = steps_shown(shape)
        episode = play(rng, grid_of(shape.width, shape.height), shown[-1], held_out)
        pictures = {k: resized(episode.pictures[k], shape.width, shape.height) for k in set(shown)}
        frames = np.stack([pictures[k] for k in shown])
        states = [episode.states[k] for k in shown]
        slots = {"time": episode.time, "ground": states[0]["ground"]}
        slots |= near(episode.seen) | facts(states)
        short, long = (captions.write(rule, slots, rng) for rule in ("short", "long"))
        return Clip(frames, shape.fps, states, short, long, slots)

    def parse(self, text: str) -> Slots:
        """See World."""
        return captions.read(text)

    def detect(self, frames: np.ndarray, fps: float) -> dict[str, Detection]:
        """See World."""
        return detector.detect(frames)


WORLD = Survival()
