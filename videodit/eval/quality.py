"""Measures of a reconstructed clip against its original: clips are uint8 T H W 3, RGB.

Every measure compares frame by frame and colour by colour, so it applies to clips of any size. For
a frame or clip that is too small it is NaN.
"""

from collections.abc import Iterator

import numpy as np
from scipy.ndimage import gaussian_filter

PEAK = 255.0
MOST_PSNR = 100.0  # dB, for equal clips
WINDOW, SIGMA = 11, 1.5  # pixels: side and std of the Gaussian window of SSIM
STABILIZERS = ((0.01 * PEAK) ** 2, (0.03 * PEAK) ** 2)  # C1 and C2
# Weights of multi-scale SSIM, from the full size on; each scale has half the size of the last.
SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)


def psnr(original: np.ndarray, reconstruction: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB over all pixels of the clip, at most MOST_PSNR."""
    return to_decibels(squared_error(original, reconstruction).mean())


def to_decibels(mean_squared: float) -> float:
    """PSNR in dB, at most MOST_PSNR, of a mean squared error in levels of 255."""
    least = PEAK**2 / 10 ** (MOST_PSNR / 10)
    return float(10 * np.log10(PEAK**2 / max(mean_squared, least)))


def squared_error(original: np.ndarray, reconstruction: np.ndarray) -> np.ndarray:
    """Squared difference in levels of 255, averaged over the colours: T H W float64."""
    pairs = zip(original, reconstruction)
    return np.stack([np.square(a.astype(np.int32) - b).mean(-1) for a, b in pairs])


def ssim(original: np.ndarray, reconstruction: np.ndarray) -> float:
    """Structural similarity (Wang et al. 2004, eq. 13), at windows that lie within the frame."""
    if min(original.shape[1:3]) < WINDOW:
        return float("nan")
    return float(
        np.mean([(light * rest).mean() for light, rest in _maps(original, reconstruction)])
    )


def scales(height: int, width: int) -> int:
    """How many of the five scales of multi-scale SSIM a frame is large enough for."""
    sizes = [min(height, width) >> scale for scale in range(len(SCALE_WEIGHTS))]
    return sum(size >= WINDOW for size in sizes)


def multiscale_ssim(original: np.ndarray, reconstruction: np.ndarray) -> float:
    """Multi-scale SSIM (Wang et al. 2003, eq. 7) of each frame and colour, then their mean.

    Frames that are too small for five scales get fewer (`scales`), whose weights add up to 1.
    """
    count = scales(*original.shape[1:3])
    if not count:
        return float("nan")
    weights = np.array(SCALE_WEIGHTS[:count]) / sum(SCALE_WEIGHTS[:count])
    similarity: np.ndarray | float = 1.0
    for scale, weight in enumerate(weights):
        if scale:
            original, reconstruction = _halved(original), _halved(reconstruction)
        last = scale == count - 1
        means = [
            (light * rest if last else rest).mean((0, 1))
            for light, rest in _maps(original, reconstruction)
        ]
        similarity = similarity * np.maximum(means, 0) ** weight
    return float(np.mean(similarity))


def flicker(original: np.ndarray, reconstruction: np.ndarray) -> float:
    """Mean absolute error, in levels of 255, of the change from each frame to the next.

    It measures what changes in time and should not, or should change and does not. It is 0 if the
    error is the same in all frames.
    """
    return float(changes(original, reconstruction).mean()) if len(original) > 1 else float("nan")


def changes(original: np.ndarray, reconstruction: np.ndarray) -> np.ndarray:
    """`flicker` for each pair of neighbouring frames: T - 1 float64."""
    errors = (b.astype(np.int16) - a for a, b in zip(original, reconstruction))
    means, before = [], next(errors)
    for error in errors:
        means.append(np.abs(error - before).mean())
        before = error
    return np.array(means)


def _maps(
    original: np.ndarray, reconstruction: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """For each frame, H' W' 3: the luminance term, and the product of contrast and structure."""
    c1, c2 = STABILIZERS
    for x, y in zip(original, reconstruction):
        x, y = x.astype(np.float32), y.astype(np.float32)
        mean_x, mean_y = _blur(x), _blur(y)
        covariance = _blur(x * y) - mean_x * mean_y
        variances = _blur(x * x) - mean_x**2 + _blur(y * y) - mean_y**2
        luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
        yield luminance, (2 * covariance + c2) / (variances + c2)


def _blur(image: np.ndarray) -> np.ndarray:
    """Gaussian means of H W 3, at windows that lie within the image."""
    edge = WINDOW // 2
    return gaussian_filter(image, SIGMA, radius=edge, axes=(0, 1))[edge:-edge, edge:-edge]


def _halved(frames: np.ndarray) -> np.ndarray:
    """Means of 2 x 2 pixels; an odd last row or column is left out."""
    count, height, width, colors = frames.shape
    frames = frames[:, : height // 2 * 2, : width // 2 * 2]
    blocks = frames.reshape(count, height // 2, 2, width // 2, 2, colors)
    return blocks.mean((2, 4), dtype=np.float32)
