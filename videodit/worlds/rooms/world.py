"""Rooms: BabyAI, missions in rooms of tiles seen from above, solved by BabyAI's own bot.

There is one room, or there are up to three along the longer side of the picture: as many as fit the
aspect best. BabyAI draws 16 pixels a tile; pictures are padded to the asked aspect with the grey of
the walls and averaged over areas. A second has six steps. A clip shows the start of the mission, or
its end; when the mission is solved, the agent stands still. With the locked versions, equal seeds
give equal frames.
"""

import numpy as np

from videodit.worlds.grids import steps_shown
from videodit.worlds.rooms import captions, detector
from videodit.worlds.rooms.facts import facts
from videodit.worlds.rooms.game import play
from videodit.worlds.rooms.layout import fitted, layout_of
from videodit.worlds.world import Clip, Detection, Shape, Slots, check_choices


class Rooms:
    """Implements `World`."""

    name = "rooms"
    scenes: tuple[str, ...] = ("all",)

    def make(
        self, seed: int, shape: Shape, combinations: str = "seen", scenes: str = "all"
    ) -> Clip:
        """See World. Another size of the same aspect, rate and length shows the same."""
        check_choices(self, combinations, scenes)
        held_out = combinations == "held_out"
        rng = np.random.default_rng((seed, held_out))
        episode = play(rng, layout_of(shape.width, shape.height), held_out)
        shown = _steps(rng, shape, len(episode.states), held_out)
        pictures = {k: fitted(episode.pictures[k], shape.width, shape.height) for k in set(shown)}
        frames = np.stack([pictures[k] for k in shown])
        states = [episode.states[k] for k in shown]
        slots = facts(states)
        if len(states) > 1:
            slots |= episode.task | {"solved": "yes" if states[-1]["solved"] else "no"}
        short, long = (captions.write(rule, slots, rng) for rule in ("short", "long"))
        return Clip(frames, shape.fps, states, short, long, slots)

    def parse(self, text: str) -> Slots:
        """See World."""
        return captions.read(text)

    def detect(self, frames: np.ndarray, fps: float) -> dict[str, Detection]:
        """See World."""
        return detector.detect(frames)


def _steps(rng: np.random.Generator, shape: Shape, count: int, held_out: bool) -> list[int]:
    """The step that each frame shows, of an episode with `count` states.

    A clip begins with the mission or ends with it. "held_out" clips always begin with it, where all
    things are on the floor.
    """
    shown = steps_shown(shape)
    spare = max(count - 1 - shown[-1], 0)
    start = 0 if held_out else spare * int(rng.integers(2))
    return [min(start + k, count - 1) for k in shown]


WORLD = Rooms()
