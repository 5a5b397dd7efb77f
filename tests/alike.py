"""A source of clips that are alike in size, so that little is compiled for them."""

import numpy as np
from clips import made_up
from scipy.ndimage import gaussian_filter

from videodit.data.video.files import resize

SIDE = 32


class AlikeSource:
    """Soft noise that moves, in turns of 9 frames and of 1; the first `val` are held out."""

    def __init__(self, clips=12, val=4):
        size, frames = np.full(clips, SIDE, np.int32), np.resize([9, 1], clips).astype(np.int32)
        self.catalog = made_up(clips, val=val, width=size, height=size, frames=frames)

    def read(self, i, view):
        """As videodit/data/sources/source.py:Source says."""
        noise = np.random.default_rng(i).normal(size=(SIDE, SIDE, 3))
        soft = gaussian_filter(noise, (2, 2, 0), mode="wrap")
        picture = np.clip(128 + 50 * soft / soft.std(), 0, 255).astype(np.uint8)
        clip = np.stack([np.roll(picture, t, axis=1) for t in range(self.catalog.frames[i])])
        return resize(clip, view)
