"""A world that is quick to render and easy to check: one square that stays, in one of 3 colours."""

import numpy as np

from videodit.worlds.world import Caption, Clip, Detection

COLORS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (40, 60, 230)}
SIZES = {"small": 0.2, "large": 0.6}  # of the shorter side


class FakeWorld:
    """Held-out clips show a large red square, which the others never do."""

    name = "fake"
    scenes = ("all",)

    def make(self, seed, shape, combinations="seen", scenes="all"):
        rng = np.random.default_rng(seed)
        pairs = [(color, size) for color in COLORS for size in SIZES]
        color, size = pairs[rng.integers(2, len(pairs))]
        if combinations == "held_out":
            color, size = "red", "large"
        side = round(SIZES[size] * min(shape.width, shape.height))
        frames = np.full((shape.frames, shape.height, shape.width, 3), 128, np.uint8)
        frames[:, :side, :side] = COLORS[color]
        slots = {"a.color": color, "a.size": size, "camera": "still"}
        short = Caption(f"a {color} square", {"a.color": color})
        long = Caption(
            f"A {size} {color} square. The view is {shape.width} wide.",
            {"a.color": color, "a.size": size},
        )
        states = [{"frame": t, "side": side, "seed": seed} for t in range(shape.frames)]
        return Clip(frames, shape.fps, states, short, long, slots)

    def detect(self, frames, fps):
        """Never says a camera, and calls every square small."""
        distances = [abs(frames[0, 2, 2].astype(int) - rgb).sum() for rgb in COLORS.values()]
        color = list(COLORS)[int(np.argmin(distances))]
        return {"a.color": Detection(color, 0.9), "a.size": Detection("small", 0.5)}
