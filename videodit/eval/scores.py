"""Scores of clips coded by an autoencoder, and by other codes of as many values."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from videodit.config import MULTISCALE, ConfigError
from videodit.data import patches
from videodit.data.progress import Progress
from videodit.data.sources.catalog import Catalog
from videodit.data.sources.source import Source
from videodit.data.video.files import whole
from videodit.eval import quality
from videodit.eval.baselines import LinearCode, fit_linear_codes, h264
from videodit.eval.frechet import Gaussian, frechet_distance, random_features
from videodit.inference.codec import Codec
from videodit.models.autoencoder import to_pixels
from videodit.models.perceptual import MIN_SIDE, Weights, feature_pairs, perceptual_distance

ORIGINAL, OURS, H264 = "original", "autoencoder", "H.264"
TRAINING, HELD_OUT = ("train",), ("val", "test")  # splits
SIDES, FRAMES = (1, 64, 128, 256, 512), (1, 2, 18, 66)  # lower bounds of the bins of clips


class HeldOutClip(NamedTuple):
    """A clip of frames uint8 T H W 3 at `fps` frames per second."""

    name: str
    frames: np.ndarray
    fps: float


class Scored(NamedTuple):
    """The scores of all coders on one clip."""

    name: str
    size: patches.Size  # frames, height, width
    latent_values: int
    scores: dict[str, dict[str, float]]  # by coder, then by measure


class Scorer:
    """Codes clips with every coder and scores the results.

    `features` are the name and weights that models/perceptual.py:read_features returns.
    """

    def __init__(
        self,
        codec: Codec,
        linear_codes: dict[str, LinearCode],
        features: tuple[str, Mapping[str, Any]] = (MULTISCALE, {}),
    ) -> None:
        self.codec, self.linear_codes = codec, linear_codes
        self.perceptual, weights = features
        self._weights = jax.device_put(weights)
        self.coders = [OURS, *linear_codes, H264]
        self._gaussians: dict[str, Gaussian] = {}

    def score(self, clip: HeldOutClip) -> Scored:
        """The scores of all coders on a clip."""
        frames, fps = clip.frames, clip.fps
        count, height, width, _ = frames.shape
        values = latent_values((count, height, width), self.codec)
        outputs = {OURS: self.codec.reconstruct(frames, fps)}
        outputs |= {name: code.reconstruct(frames) for name, code in self.linear_codes.items()}
        outputs[H264], size = h264(frames, fps, values)
        scores = {name: self._measures(frames, output) for name, output in outputs.items()}
        sizes = dict.fromkeys(outputs, values) | {H264: size}
        for name, size in sizes.items():
            scores[name]["bits_per_pixel"] = 8 * size / (count * height * width)
        for name, output in ({ORIGINAL: frames} | outputs).items():
            features = random_features(output)
            self._gaussians.setdefault(name, Gaussian(features.shape[1])).add(features)
        return Scored(clip.name, (count, height, width), values, scores)

    def frechet(self) -> dict[str, float]:
        """For each coder, the Frechet distance of all scored clips to their originals."""
        original = self._gaussians[ORIGINAL]
        if not original.count:
            return {name: float("nan") for name in self.coders}
        return {name: frechet_distance(original, self._gaussians[name]) for name in self.coders}

    def _measures(self, frames: np.ndarray, output: np.ndarray) -> dict[str, float]:
        return {
            "psnr": quality.psnr(frames, output),
            "ssim": quality.ssim(frames, output),
            "multiscale_ssim": quality.multiscale_ssim(frames, output),
            "flicker": quality.flicker(frames, output),
            "perceptual": self._perceptual(frames, output),
        }

    def _perceptual(self, frames: np.ndarray, output: np.ndarray) -> float:
        if min(frames.shape[1:3]) < MIN_SIDE:
            return float("nan")
        pairs = zip(frames, output)
        return float(np.mean([_perceptual_distance(self._weights, a, b) for a, b in pairs]))


@jax.jit
def _perceptual_distance(weights: Weights, a: jax.Array, b: jax.Array) -> jax.Array:
    """The distance of two frames H W 3 uint8: 1 float32."""
    pairs = feature_pairs(weights, to_pixels(a)[None], to_pixels(b)[None])
    return perceptual_distance(weights, pairs)


def latent_values(size: patches.Size, codec: Codec) -> int:
    """How many numbers the latents of a clip of (frames, height, width) have."""
    return math.prod(patches.grid(*size, codec.cfg.patch)) * codec.cfg.channels


def fit_codes(source: Source, codec: Codec, rows: Sequence[int]) -> dict[str, LinearCode]:
    """The linear codes, fitted to the clips of these rows."""
    clips = (clip.frames for clip in read(source, rows, "training clips read"))
    return fit_linear_codes(clips, codec.cfg.patch, codec.cfg.channels)


def rows_of(catalog: Catalog, splits: Sequence[str], count: int) -> list[int]:
    """At most `count` evenly spread rows of these splits. Raises ConfigError if there is none."""
    rows = np.flatnonzero(np.isin(catalog.split.astype(str), splits))
    if not len(rows):
        raise ConfigError(f"--data: expected clips of the split {' or '.join(splits)}; it has none")
    return spread(rows, count)


def spread(rows: np.ndarray, count: int) -> list[Any]:
    """At most `count` of the rows, evenly spread."""
    return rows[np.unique(np.linspace(0, len(rows) - 1, count).round().astype(int))].tolist()


def read(source: Source, rows: Sequence[int], what: str) -> Iterator[HeldOutClip]:
    """Yields the whole clips of these rows; a broken clip is named and left out."""
    progress = Progress(len(rows), what)
    for row in rows:
        try:
            yield read_one(source, row)
        except ConfigError as error:
            print(f"left out: {error}", flush=True)
        progress.advance()


def read_one(source: Source, row: int) -> HeldOutClip:
    """The whole clip of a row. Raises ConfigError if it cannot be read."""
    catalog = source.catalog
    frames = source.read(row, whole(*size_of(catalog, row)))
    return HeldOutClip(catalog.ids[row], frames, float(catalog.fps[row]))


def bin_of(size: patches.Size) -> tuple[int, int]:
    """Numbers of the bins of SIDES (by the geometric mean of height and width) and of FRAMES."""
    frames, height, width = size
    side = math.sqrt(height * width)
    return sum(side >= least for least in SIDES) - 1, sum(frames >= n for n in FRAMES) - 1


def bin_name(number: tuple[int, int]) -> str:
    """A bin in words, such as "64 to 127 px, 1 frame"."""
    side, frames = (
        f"{bins[i]} and more" if i + 1 == len(bins) else _between(bins[i], bins[i + 1] - 1)
        for bins, i in zip((SIDES, FRAMES), number)
    )
    return f"{side} px, {frames} " + ("frame" if frames == "1" else "frames")


def means(scored: Iterable[Scored]) -> dict[str, dict[str, Any]]:
    """For each coder, the mean of each measure over the clips that have it, and the gain over PCA.

    "gain" is the mean difference of PSNR to PCA in dB, "gain_stderr" its standard error (None for a
    single clip).
    """
    table: dict[str, dict[str, Any]] = {}
    scored = list(scored)
    for name in scored[0].scores:
        scores = [one.scores[name] for one in scored]
        row: dict[str, Any] = {key: _mean([s[key] for s in scores]) for key in scores[0]}
        gains = np.array([one.scores[name]["psnr"] - one.scores["PCA"]["psnr"] for one in scored])
        row["gain"] = float(gains.mean())
        row["gain_stderr"] = (
            float(gains.std(ddof=1) / len(gains) ** 0.5) if len(gains) > 1 else None
        )
        table[name] = row
    return table


def size_of(catalog: Catalog, row: int) -> patches.Size:
    """Frames, height and width of a clip."""
    return int(catalog.frames[row]), int(catalog.height[row]), int(catalog.width[row])


def _between(low: int, high: int) -> str:
    return str(low) if low == high else f"{low} to {high}"


def _mean(values: Sequence[float]) -> float:
    values = [value for value in values if not math.isnan(value)]
    return float(np.mean(values)) if values else float("nan")
