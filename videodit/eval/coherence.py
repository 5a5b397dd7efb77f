"""Whether a clip is one picture: how much neighbouring pixels differ across the borders of tokens.

A model whose tokens do not agree makes tiles: what differs across borders is far more than in real
clips. Noise, and blurred edges, show inside the tokens.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from videodit.data.patches import Size


class Differences(NamedTuple):
    """Mean absolute differences of neighbouring pixels in a frame, of 255."""

    across: float  # of two tokens
    inside: float  # of one token

    def ratio(self, real: "Differences") -> "Differences":
        """These over those of real clips: 1 is as coherent, and as sharp, as they are."""
        return Differences(self.across / real.across, self.inside / real.inside)


def differences(clips: Sequence[np.ndarray], patch: Size) -> Differences:
    """The means over clips, T H W 3 uint8 each; patch: frames, height and width of a token."""
    means = np.array([_of_clip(clip, patch) for clip in clips])
    return Differences(*(float(np.nanmean(column)) for column in means.T))


def _of_clip(clip: np.ndarray, patch: Size) -> Differences:
    across, inside = [], []
    for axis, side in ((1, patch[1]), (2, patch[2])):
        steps = np.abs(np.diff(clip.astype(np.int16), axis=axis))
        border = np.arange(1, clip.shape[axis]) % side == 0
        across.append(np.compress(border, steps, axis))
        inside.append(np.compress(~border, steps, axis))
    return Differences(*(_mean(parts) for parts in (across, inside)))


def _mean(parts: list[np.ndarray]) -> float:
    """The mean over all arrays; NaN if they are empty, as across borders of a single token."""
    count = sum(part.size for part in parts)
    return sum(float(part.sum()) for part in parts) / count if count else float("nan")
