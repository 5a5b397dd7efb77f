"""Codes to compare an autoencoder with; all have as many values for each patch of a clip.

Two are linear and fitted to patches of training clips: the principal components, and the DCT
coefficients that vary most. The third is H.264 with as many bytes as there are latent values.
"""

import io
from collections.abc import Iterable
from functools import partial
from typing import NamedTuple

import av
import numpy as np
import scipy.fft

from videodit.data import patches
from videodit.data.video.files import encode, read_frames
from videodit.eval import pca

SEARCH_STEPS = 8  # halvings: the rate factor is found to within 51 / 2^8
LARGEST_RATE_FACTOR = 51.0
METADATA = 6  # NAL unit type that names the encoder; it is no part of the picture
PRESET = "slow"


class LinearCode(NamedTuple):
    """Codes each patch in as many values as there are components, which are orthonormal."""

    patch: patches.Size
    components: dict[str, np.ndarray]  # mean P, components P C: see pca.principal_components

    def reconstruct(self, frames: np.ndarray) -> np.ndarray:
        """Codes and decodes frames uint8 T H W 3; the result has the same shape and type."""
        tokens = _values(frames, self.patch)
        output = np.asarray(pca.reconstruct(tokens[None], self.components))[0]
        levels = np.clip(np.rint((output + 1) * 127.5), 0, 255).astype(np.uint8)
        count, height, width, _ = frames.shape
        grid = patches.grid_of(frames, self.patch)
        return patches.unpatchify(levels, grid, self.patch, (count, height, width))


def fit_linear_codes(
    clips: Iterable[np.ndarray], patch: patches.Size, channels: int
) -> dict[str, LinearCode]:
    """The codes "PCA" and "3D DCT", with the components that lose least on these clips."""
    tokens = (_values(frames, patch)[None] for frames in clips)
    batches = ((values, np.ones(values.shape[:2], bool)) for values in tokens)
    mean, covariance = pca.mean_and_covariance(batches)
    return {
        "PCA": LinearCode(patch, pca.principal_components(mean, covariance, channels)),
        "3D DCT": LinearCode(patch, dct_components(mean, covariance, patch, channels)),
    }


def dct_components(
    mean: np.ndarray, covariance: np.ndarray, patch: patches.Size, channels: int
) -> dict[str, np.ndarray]:
    """The DCT-II over time, height, width and colour, in the form of pca.principal_components.

    The DCT over three colours gives a brightness and two differences. The coefficients of largest
    variance are kept; the others take their mean. mean: P, covariance: P P.
    """
    values = len(mean)
    basis = scipy.fft.idctn(
        np.eye(values).reshape(values, *patch, 3), axes=(1, 2, 3, 4), norm="ortho"
    ).reshape(values, values)
    variances = np.einsum("cp,pq,cq->c", basis, covariance, basis, optimize=True)
    order = np.argsort(variances)[::-1][:channels]
    arrays = {"mean": mean, "components": basis[order].T}
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def h264(frames: np.ndarray, fps: float, size: int) -> tuple[np.ndarray, int]:
    """Frames uint8 T H W 3 coded by H.264 in at most `size` bytes, if it can; and the bytes taken.

    x264 runs in full colour resolution with PRESET, at the least rate factor that gives so few
    bytes. Counted are the pictures and their parameters, without container and METADATA.
    """
    make = partial(_h264, frames, fps)
    low, high = 0.0, LARGEST_RATE_FACTOR
    best = make(high)
    for _ in range(SEARCH_STEPS if video_bytes(best) < size else 0):
        middle = (low + high) / 2
        video = make(middle)
        if video_bytes(video) <= size:
            best, high = video, middle
        else:
            low = middle
    return read_frames(best), video_bytes(best)


def video_bytes(video: bytes) -> int:
    """Bytes of the H.264 units in an mp4, without container and METADATA."""
    total = 0
    with av.open(io.BytesIO(video), "r") as container:
        stream = container.streams.video[0]
        total += len(stream.codec_context.extradata or b"")
        for packet in container.demux(stream):
            total += sum(len(unit) for unit in _units(bytes(packet)) if unit[0] & 31 != METADATA)
    return total


def _h264(frames: np.ndarray, fps: float, rate_factor: float) -> bytes:
    return encode(frames, fps, options={"crf": f"{rate_factor:.3f}", "preset": PRESET})


def _units(packet: bytes) -> Iterable[bytes]:
    """NAL units of a packet; each follows its length in four bytes (ISO/IEC 14496-15, 5.3)."""
    place = 0
    while place + 4 < len(packet):
        length = int.from_bytes(packet[place : place + 4])
        yield packet[place + 4 : place + 4 + length]
        place += 4 + length


def _values(frames: np.ndarray, patch: patches.Size) -> np.ndarray:
    """Tokens n P float32 in [-1, 1]."""
    return patches.patchify(frames, patch).astype(np.float32) / 127.5 - 1
