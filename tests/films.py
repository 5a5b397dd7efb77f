"""Videos whose frames show their numbers."""

import numpy as np


def numbered(frames, height=48, width=64):
    """Frame k shows the number k: eight bars, black for 0 and white for 1, lowest bit first."""
    bits = (np.arange(frames)[:, None] >> np.arange(8)) & 1
    bars = bits.repeat(width // 8, axis=1).astype(np.uint8) * 255
    return np.broadcast_to(bars[:, None, :, None], (frames, height, width, 3))


def numbers(clip):
    """The numbers that frames show."""
    middles = clip[:, clip.shape[1] // 2, clip.shape[2] // 16 :: clip.shape[2] // 8, 1]
    return ((middles > 127) << np.arange(8)).sum(1).tolist()
