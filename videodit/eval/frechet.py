"""The Frechet distance between features of clips, and features that need no trained network.

The usual distance (FVD, arXiv:1812.01717) compares features of a trained video network. Without
such a network RANDOM_FEATURES stand in: they see texture, edges and motion of a few pixels, but
neither content nor brightness. Distances of different features cannot be compared, so every report
names its features.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

RANDOM_FEATURES = "random convolutional features (untrained network, 64 values)"
_LAYERS = ((3, 16, (1, 2, 2)), (16, 32, (2, 2, 2)), (32, 64, (2, 2, 2)))  # inputs, outputs, stride
_KERNEL = 3  # frames and pixels
FIELD = 15  # pixels: side of the square that a feature sees, in 9 frames
_FRAMES_BEFORE = 4  # frames of these before the middle one


class Gaussian:
    """Mean and covariance of features that come in pieces."""

    def __init__(self, size: int) -> None:
        """`size` is D, the number of values of a feature."""
        self.count, self._sum, self._products = 0, np.zeros(size), np.zeros((size, size))

    def add(self, features: np.ndarray) -> None:
        """Adds features N D."""
        features = features.astype(np.float64)
        self.count += len(features)
        self._sum += features.sum(0)
        self._products += features.T @ features

    @property
    def mean(self) -> np.ndarray:
        """D float64."""
        return self._sum / self.count

    @property
    def covariance(self) -> np.ndarray:
        """D D float64."""
        return self._products / self.count - np.outer(self.mean, self.mean)


def frechet_distance(a: Gaussian, b: Gaussian) -> float:
    """|m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2)) (Dowson and Landau 1982, eq. 4)."""
    variances, vectors = np.linalg.eigh(a.covariance)
    root = vectors * np.sqrt(np.maximum(variances, 0)) @ vectors.T
    mixed = np.linalg.eigvalsh(root @ b.covariance @ root)
    traces = np.trace(a.covariance) + np.trace(b.covariance)
    distance = np.square(a.mean - b.mean).sum() + traces - 2 * np.sqrt(np.maximum(mixed, 0)).sum()
    return max(float(distance), 0.0)


def random_features(frames: np.ndarray) -> np.ndarray:
    """RANDOM_FEATURES of a clip uint8 T H W 3: N 64 float32, at every 8th pixel and 4th frame.

    The first and last frames are repeated in time. Frames smaller than FIELD pixels have none.
    """
    if min(frames.shape[1:3]) < FIELD:
        return np.zeros((0, _LAYERS[-1][1]), np.float32)
    ends = [(_FRAMES_BEFORE, _FRAMES_BEFORE), (0, 0), (0, 0), (0, 0)]
    return np.asarray(_network(np.pad(frames, ends, mode="edge"), _kernels()))


@jax.jit
def _network(frames: jax.Array, kernels: Sequence[jax.Array]) -> jax.Array:
    x = frames[None].astype(jnp.float32) / 127.5 - 1
    for kernel, (_, _, stride) in zip(kernels, _LAYERS):
        axes = ("NTHWC", "THWIO", "NTHWC")
        x = jax.nn.relu(jax.lax.conv_general_dilated(x, kernel, stride, "VALID", None, None, axes))
    return x.reshape(-1, x.shape[-1])


def _kernels() -> list[np.ndarray]:
    """Normal values whose variance keeps the scale of activations (He, arXiv:1502.01852).

    Kernels of the first layer sum to zero for each colour; otherwise brightness would dominate.
    """
    rng, side = np.random.default_rng(0), (_KERNEL, _KERNEL, _KERNEL)
    kernels = [
        rng.normal(0, np.sqrt(2 / (_KERNEL**3 * inputs)), (*side, inputs, outputs))
        for inputs, outputs, _ in _LAYERS
    ]
    kernels[0] -= kernels[0].mean((0, 1, 2))
    return [kernel.astype(np.float32) for kernel in kernels]
