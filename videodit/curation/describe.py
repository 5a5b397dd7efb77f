"""Captions of measured facts (brightness, colour, motion) for clips that come without a caption."""

import numpy as np

# Upper bounds: of the mean level (0..255), and of its mean change in an eighth of a second.
BRIGHTNESS = ((60, "dark"), (100, "dim"), (160, "softly lit"), (256, "bright"))
MOTION = ((2, "almost no"), (8, "slow"), (25, "steady"), (np.inf, "strong"))
HUES = ("red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink")
HUE_ENDS = np.array([15, 42, 70, 165, 200, 260, 300, 345])  # degrees; above the last it is red
GREY_CHROMA = 28  # largest minus smallest channel, 0..255


def describe(frames: np.ndarray, fps: float) -> str:
    """One sentence about a clip (uint8 T H W 3): "A dark, mostly blue scene with slow motion."

    The sentence about an image does not mention motion.
    """
    pixels = frames.astype(np.float32)
    look = f"A {_word(BRIGHTNESS, pixels.mean())}, mostly {_main_color(pixels)} scene"
    if len(frames) == 1:
        return look + "."
    # The mean is over all pixels, so a small object that moves fast counts as slow motion.
    speed = abs(np.diff(pixels, axis=0)).mean() * fps / 8
    return f"{look} with {_word(MOTION, speed)} motion."


def _word(table: tuple[tuple[float, str], ...], value: float) -> str:
    """The word of the first row whose bound exceeds the value."""
    return next(word for end, word in table if value < end)


def _main_color(pixels: np.ndarray) -> str:
    """The name of the colour of most pixels (... 3 float, 0..255)."""
    red, green, blue = np.moveaxis(pixels, -1, 0)
    chroma = pixels.max(-1) - pixels.min(-1)
    hue = np.degrees(np.arctan2(np.sqrt(3) * (green - blue), 2 * red - green - blue)) % 360
    names = np.searchsorted(HUE_ENDS, hue, side="right") % len(HUES)
    counts = np.bincount(names[chroma >= GREY_CHROMA], minlength=len(HUES))
    grey = np.sum(chroma < GREY_CHROMA)
    return "grey" if grey >= counts.max() else HUES[counts.argmax()]
