"""A caption of measured facts for a clip that nobody described: brightness, colour, motion."""

import numpy as np

BRIGHTNESS = ((60, "dark"), (100, "dim"), (160, "softly lit"), (256, "bright"))  # mean of 0..255
MOTION = ((2, "almost no"), (8, "slow"), (25, "steady"), (np.inf, "strong"))  # levels a second
HUES = ("red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink")
HUE_ENDS = np.array([15, 42, 70, 165, 200, 260, 300, 345])  # degrees; above the last is red
GREY_CHROMA = 28  # largest minus smallest channel, 0..255


def describe(frames: np.ndarray, fps: float) -> str:
    """One sentence about a clip (uint8 T H W 3), such as "A dark, mostly blue scene with slow
    motion."; nothing is said about the motion of an image.
    """
    pixels = frames.astype(np.float32)
    look = f"A {_word(BRIGHTNESS, pixels.mean())}, mostly {_main_color(pixels)} scene"
    if len(frames) == 1:
        return look + "."
    # A mean over all pixels: a small thing that moves fast counts as slow motion.
    speed = abs(np.diff(pixels, axis=0)).mean() * fps / 8
    return f"{look} with {_word(MOTION, speed)} motion."


def _word(table: tuple[tuple[float, str], ...], value: float) -> str:
    return next(word for end, word in table if value < end)


def _main_color(pixels: np.ndarray) -> str:
    """The name that most pixels (float 0..255, ... 3) bear."""
    red, green, blue = np.moveaxis(pixels, -1, 0)
    chroma = pixels.max(-1) - pixels.min(-1)
    hue = np.degrees(np.arctan2(np.sqrt(3) * (green - blue), 2 * red - green - blue)) % 360
    names = np.searchsorted(HUE_ENDS, hue, side="right") % len(HUES)
    counts = np.bincount(names[chroma >= GREY_CHROMA], minlength=len(HUES))
    grey = np.sum(chroma < GREY_CHROMA)
    return "grey" if grey >= counts.max() else HUES[counts.argmax()]
