"""What clips lose in an autoencoder, and in other codes of as many values."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import jax
import numpy as np

from tools.cuts import Shape
from tools.shards import Progress
from videodit.codec import Codec, spans
from videodit.config import MULTISCALE, ConfigError
from videodit.data import patches
from videodit.data.catalog import Catalog
from videodit.data.sources import Source
from videodit.data.video import View, fits, probe, read_clip, whole
from videodit.eval import quality
from videodit.eval.baselines import LinearCode, fit_linear_codes, h264
from videodit.eval.frechet import Gaussian, frechet_distance, random_features
from videodit.models.autoencoder import to_pixels
from videodit.models.perceptual import MIN_SIDE, distances, read_features

ORIGINAL, OURS, H264 = "original", "autoencoder", "H.264"
HELD_OUT = ("val", "test")
SIDES, FRAMES = (1, 64, 128, 256, 512), (1, 2, 18, 66)  # where each bin of clips begins


class Clip(NamedTuple):
    """Frames uint8 T H W 3 at fps frames a second."""

    name: str
    frames: np.ndarray
    fps: float


class Scored(NamedTuple):
    """A clip, what became of it and how good that is."""

    clip: Clip
    latent_values: int
    outputs: dict[str, np.ndarray]  # by coder
    scores: dict[str, dict[str, float]]  # by coder and measure


class Scorer:
    """Codes clips in every way, and scores what comes out.

    `lpips`: the file of weights (models/perceptual.py), or "" for the features "multiscale".
    """

    def __init__(self, codec: Codec, linear_codes: dict[str, LinearCode], lpips: str = ""):
        self.codec, self.linear_codes = codec, linear_codes
        self.perceptual, self._weights = read_features(lpips or MULTISCALE)
        self.coders = [OURS, *linear_codes, H264]
        self._gaussians = {}

    def score(self, clip: Clip) -> Scored:
        """All coders on one clip."""
        frames, fps = clip.frames, clip.fps
        values = latent_values(frames.shape[:3], self.codec)
        outputs = {OURS: self.codec.reconstruct(frames, fps)}
        outputs |= {name: code.reconstruct(frames) for name, code in self.linear_codes.items()}
        outputs[H264], size = h264(frames, fps, values)
        scores = {name: self._measures(frames, output) for name, output in outputs.items()}
        sizes = dict.fromkeys(outputs, values) | {H264: size}
        for name, size in sizes.items():
            scores[name]["bits_per_pixel"] = 8 * size / math.prod(frames.shape[:3])
        for name, output in ({ORIGINAL: frames} | outputs).items():
            features = random_features(output)
            self._gaussians.setdefault(name, Gaussian(features.shape[1])).add(features)
        return Scored(clip, values, outputs, scores)

    def frechet(self) -> dict[str, float]:
        """Frechet distance to the originals of all clips that were scored, by coder."""
        original = self._gaussians[ORIGINAL]
        if not original.count:
            return {name: float("nan") for name in self.coders}
        return {name: frechet_distance(original, self._gaussians[name]) for name in self.coders}

    def _measures(self, frames, output) -> dict[str, float]:
        return {
            "psnr": quality.psnr(frames, output),
            "ssim": quality.ssim(frames, output),
            "multiscale_ssim": quality.multiscale_ssim(frames, output),
            "flicker": quality.flicker(frames, output),
            "perceptual": self._perceptual(frames, output),
        }

    def _perceptual(self, frames, output) -> float:
        if min(frames.shape[1:3]) < MIN_SIDE:
            return float("nan")
        pairs = zip(frames, output)
        return float(np.mean([_perceptual_distance(self._weights, a, b) for a, b in pairs]))


@jax.jit
def _perceptual_distance(weights, a, b):
    """Of two frames H W 3 uint8."""
    return distances(weights, to_pixels(a)[None], to_pixels(b)[None])[0]


def latent_values(size: patches.Size, codec: Codec) -> int:
    """Numbers in the latents of a clip of (frames, height, width)."""
    return math.prod(patches.grid(*size, codec.cfg.patch)) * codec.cfg.channels


def fit_codes(source: Source, codec: Codec, count: int) -> dict[str, LinearCode]:
    """The linear codes, fitted to `count` training clips. Raises ConfigError if there are none."""
    rows = spread(np.flatnonzero(source.catalog.split == "train"), count)
    clips = (clip.frames for clip in read(source, rows, "training clips read"))
    return fit_linear_codes(clips, codec.cfg.patch, codec.cfg.channels)


def held_out(source: Source, count: int) -> list[int]:
    """At most `count` rows of the splits HELD_OUT, evenly spread. Raises ConfigError if none."""
    return spread(np.flatnonzero(np.isin(source.catalog.split.astype(str), HELD_OUT)), count)


def spread(rows: np.ndarray, count: int) -> list[int]:
    """At most `count` of the rows, evenly spread. Raises ConfigError if there are none."""
    if not len(rows):
        raise ConfigError("--data: holds no clips of the split train, or none of val and test")
    return rows[np.unique(np.linspace(0, len(rows) - 1, count).round().astype(int))].tolist()


def read(source: Source, rows: Sequence[int], what: str) -> Iterator[Clip]:
    """The clips of these rows, whole; a broken one is named and left out."""
    progress, catalog = Progress(len(rows), what), source.catalog
    for row in rows:
        try:
            yield Clip(
                catalog.ids[row], source.read(row, whole(*_size(catalog, row))), _fps(catalog, row)
            )
        except ConfigError as error:
            print(f"left out: {error}", flush=True)
        progress.advance()


def bin_of(size: patches.Size) -> tuple[int, int]:
    """The bins of SIDES (of the geometric mean of height and width) and of FRAMES, by number."""
    frames, height, width = size
    side = math.sqrt(height * width)
    return sum(side >= least for least in SIDES) - 1, sum(frames >= n for n in FRAMES) - 1


def bin_name(number: tuple[int, int]) -> str:
    side, frames = (
        f"{bins[i]} and more" if i + 1 == len(bins) else _between(bins[i], bins[i + 1] - 1)
        for bins, i in zip((SIDES, FRAMES), number)
    )
    return f"{side} px, {frames} " + ("frame" if frames == "1" else "frames")


def means(scored: Iterable[Scored]) -> dict[str, dict[str, float]]:
    """By coder: the mean of each measure over the clips that have it, and what PSNR is gained.

    "gain" is the mean difference of PSNR to PCA, in dB, "gain_stderr" its standard error.
    """
    table, scored = {}, list(scored)
    for name in scored[0].scores:
        scores = [one.scores[name] for one in scored]
        row = {key: _mean([score[key] for score in scores]) for key in scores[0]}
        gains = np.array([one.scores[name]["psnr"] - one.scores["PCA"]["psnr"] for one in scored])
        row["gain"] = float(gains.mean())
        row["gain_stderr"] = (
            float(gains.std(ddof=1) / len(gains) ** 0.5) if len(gains) > 1 else None
        )
        table[name] = row
    return table


class ShapeScore(NamedTuple):
    """PSNR in dB of clips of one shape, means over the clips."""

    shape: Shape
    clips: int
    psnr: float
    psnr_pca: float  # of PCA, which knows no shape
    psnr_pieces: float  # of the same pixels, coded in pieces of the first shape


def score_shapes(
    codec: Codec, pca: LinearCode, shapes: Sequence[Shape], clips: Callable[[Shape], list[Clip]]
) -> list[ShapeScore]:
    """The codec on clips of each shape, whole and in pieces of the first one."""
    first = shapes[0]
    piece, rows = (first.frames, first.height, first.width), []
    for shape in shapes:
        found, psnr = clips(shape), []
        for frames, fps in ((clip.frames, clip.fps) for clip in found):
            coded = [
                codec.reconstruct(frames, fps),
                pca.reconstruct(frames),
                in_pieces(lambda part, fps=fps: codec.reconstruct(part, fps), frames, piece),
            ]
            psnr.append([quality.psnr(frames, output) for output in coded])
        rows.append(ShapeScore(shape, len(found), *np.mean(psnr, 0).tolist()))
        print(f"{shape}: {rows[-1].psnr:.2f} dB over {len(found)} clips", flush=True)
    return rows


def in_pieces(
    code: Callable[[np.ndarray], np.ndarray], frames: np.ndarray, piece: patches.Size
) -> np.ndarray:
    """Frames T H W 3 coded in pieces of (frames, height, width).

    A piece in time begins with the last frame of the one before it, and only its other frames
    count: the first frame of a clip is a latent frame alone, which would make pieces better.
    """
    output, shared = np.empty_like(frames), min(1, piece[0] - 1)
    times = _starts(len(frames) - shared, piece[0] - shared)
    rows, columns = (_starts(size, side) for size, side in zip(frames.shape[1:3], piece[1:]))
    for t, y, x in ((t, y, x) for t in times for y in rows for x in columns):
        place = tuple(slice(a, a + size) for a, size in zip((t, y, x), piece))
        coded, skipped = code(frames[place]), shared if t else 0
        output[place][skipped:] = coded[skipped:]
    return output


def clips_of_source(source: Source, count: int) -> Callable[[Shape], list[Clip]]:
    """Held-out clips that are cropped and scaled down to a shape."""
    catalog = source.catalog
    rows = held_out(source, len(catalog))

    def clips(shape: Shape) -> list[Clip]:
        large = [row for row in rows if _holds(catalog, row, shape)]
        if not large:
            raise ConfigError(
                f"--shapes={shape}: no held-out clip is as large and as long; give a --video"
            )
        view = View(0, 1, shape.frames, shape.height, shape.width)
        return [
            Clip(catalog.ids[row], source.read(row, view), _fps(catalog, row))
            for row in spread(np.array(large), count)
        ]

    return clips


def clips_of_video(file: str, count: int) -> Callable[[Shape], list[Clip]]:
    """Clips of a shape from evenly spread places of a video, the same ones for every shape."""
    info = probe(file)

    def clips(shape: Shape) -> list[Clip]:
        fps = shape.fps or info.fps
        seconds = info.frames / info.fps
        if not fits(info, shape.width, shape.height) or shape.frames / fps > 0.75 * seconds / count:
            raise ConfigError(f"--shapes={shape}: {file} is smaller or too short for {count} clips")
        starts = [int(seconds * (i + 0.25) / count * fps) for i in range(count)]
        views = [View(start, 1, shape.frames, shape.height, shape.width) for start in starts]
        return [Clip(f"{file}@{v.start / fps:.1f}s", read_clip(file, v, fps), fps) for v in views]

    return clips


def score_seams(codec: Codec, clip: Clip, tile: int, overlap: int) -> dict[str, float]:
    """PSNR of a clip in one piece and in tiles (sides in pixels), at the seams and elsewhere.

    A seam is where tiles overlap. Raises ConfigError if the tile is not smaller than the frame.
    """
    tiled = Codec(codec.cfg, codec.compute, codec.params, tile=tile, overlap=overlap)
    seams = seam_mask(clip.frames.shape[1:3], tiled)
    if not seams.any():
        raise ConfigError(
            f"--tile={tile}: expected less than the sides of {clip.frames.shape[1:3]}"
        )
    found = {"tile": tile, "overlap": overlap, "seam_share": float(seams.mean())}
    for name, coder in {"whole": codec, "tiled": tiled}.items():
        error = quality.squared_error(clip.frames, coder.reconstruct(clip.frames, clip.fps))
        for place, mask in {"": seams | True, "_seams": seams, "_elsewhere": ~seams}.items():
            found[name + place] = quality.to_decibels(error[:, mask].mean())
    return found


def seam_mask(size: tuple[int, int], codec: Codec) -> np.ndarray:
    """H W bool: the pixels that are in more than one tile."""
    covers = []
    for pixels, side in zip(size, codec.cfg.patch[1:]):
        cells, tile, overlap = (-(-n // side) for n in (pixels, codec.tile, codec.overlap))
        cover = np.zeros(cells, int)
        for span in spans(cells, tile, overlap):
            cover[span.start : span.stop] += 1
        covers.append(cover.repeat(side)[:pixels])
    return np.outer(*covers) > 1


def _starts(size: int, piece: int) -> list[int]:
    """Where pieces begin that cover `size`; the last one is moved to end with it."""
    return [*range(0, max(size - piece, 0), piece), max(size - piece, 0)]


def _holds(catalog: Catalog, row: int, shape: Shape) -> bool:
    sizes = zip(_size(catalog, row), (shape.frames, shape.height, shape.width))
    return all(there >= asked for there, asked in sizes)


def _size(catalog: Catalog, row: int) -> patches.Size:
    return int(catalog.frames[row]), int(catalog.height[row]), int(catalog.width[row])


def _fps(catalog: Catalog, row: int) -> float:
    return float(catalog.fps[row])


def _between(low: int, high: int) -> str:
    return str(low) if low == high else f"{low} to {high}"


def _mean(values: Sequence[float]) -> float:
    values = [value for value in values if not math.isnan(value)]
    return float(np.mean(values)) if values else float("nan")
