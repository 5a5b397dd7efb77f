"""Scores of an autoencoder at shapes it was not trained at, and at the seams of tiles."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from videodit.config import ConfigError, check
from videodit.curation.cuts import FPS_SLACK, Shape
from videodit.data import patches
from videodit.data.sources.catalog import Catalog
from videodit.data.sources.source import Source
from videodit.data.video.files import View, fits, probe, read_clip
from videodit.eval import quality
from videodit.eval.baselines import LinearCode
from videodit.eval.scores import HELD_OUT, HeldOutClip, rows_of, size_of, spread
from videodit.inference.codec import Codec, spans

SMALLEST_TILED = 4  # patches: the least side of a frame that is coded in tiles
MOST_RATES = 8  # rates that an error lists


class ShapeScore(NamedTuple):
    """PSNR in dB of clips of one shape: means over the clips."""

    shape: Shape
    clips: int
    psnr: float
    psnr_pca: float  # of PCA, for which shapes make no difference
    psnr_pieces: float  # of the same pixels coded in pieces of the first shape


def score_shapes(
    codec: Codec,
    pca: LinearCode,
    shapes: Sequence[Shape],
    clips: Callable[[Shape], list[HeldOutClip]],
) -> list[ShapeScore]:
    """Scores the codec on clips of each shape, whole and in pieces of the first shape."""
    first = shapes[0]
    piece, rows = (first.frames, first.height, first.width), []
    for shape in shapes:
        found, psnr = clips(shape), []
        for frames, fps in ((clip.frames, clip.fps) for clip in found):
            coded = [
                codec.reconstruct(frames, fps),
                pca.reconstruct(frames),
                in_pieces(partial(codec.reconstruct, fps=fps), frames, piece),
            ]
            psnr.append([quality.psnr(frames, output) for output in coded])
        rows.append(ShapeScore(shape, len(found), *np.mean(psnr, 0).tolist()))
        print(f"{shape}: {rows[-1].psnr:.2f} dB over {len(found)} clips", flush=True)
    return rows


def in_pieces(
    code: Callable[[np.ndarray], np.ndarray], frames: np.ndarray, piece: patches.Size
) -> np.ndarray:
    """Codes frames T H W 3 in pieces of (frames, height, width).

    A later piece in time begins with the last frame of the piece before it, and only its other
    frames count: the first frame of a clip has a latent frame of its own, which would favour
    pieces.
    """
    output, shared = np.empty_like(frames), min(1, piece[0] - 1)
    times = _starts(len(frames) - shared, piece[0] - shared)
    rows, columns = (_starts(size, side) for size, side in zip(frames.shape[1:3], piece[1:]))
    for t, y, x in ((t, y, x) for t in times for y in rows for x in columns):
        place = tuple(slice(a, a + size) for a, size in zip((t, y, x), piece))
        coded, skipped = code(frames[place]), shared if t else 0
        output[place][skipped:] = coded[skipped:]
    return output


def clips_of_source(source: Source, count: int) -> Callable[[Shape], list[HeldOutClip]]:
    """A function from a shape to held-out clips, cropped and scaled down to it, at its rate.

    The function raises ConfigError if no held-out clip is large enough or has the rate.
    """
    catalog = source.catalog
    rows = rows_of(catalog, HELD_OUT, len(catalog))

    def clips(shape: Shape) -> list[HeldOutClip]:
        strides = [(row, stride_of(float(catalog.fps[row]), shape.fps)) for row in rows]
        if not any(stride for _, stride in strides):
            raise ConfigError(
                f"--shapes={shape}: no held-out clip has a whole multiple of {shape.fps:g} frames "
                f"a second, but {_rates(catalog, rows)}; give a --video"
            )
        large = [pair for pair in strides if pair[1] and _holds(catalog, *pair, shape)]
        if not large:
            raise ConfigError(
                f"--shapes={shape}: no held-out clip is as large and as long; give a --video"
            )
        chosen = spread(np.array(large), count)
        return [_cut(source, row, stride, shape) for row, stride in chosen]

    return clips


def stride_of(fps: float, wanted: float | None) -> int:
    """The stride over frames that gives the wanted rate within FPS_SLACK; 0 if none does."""
    if wanted is None:
        return 1
    stride = round(fps / wanted)
    return stride if stride and 1 / FPS_SLACK < fps / stride / wanted < FPS_SLACK else 0


def clips_of_video(file: str, count: int) -> Callable[[Shape], list[HeldOutClip]]:
    """A function from a shape to clips of it, from places of a video that all shapes share.

    The places are evenly spread. The function raises ConfigError if the video cannot give them.
    """
    info = probe(file)

    def clips(shape: Shape) -> list[HeldOutClip]:
        fps = shape.fps or info.fps
        seconds = info.frames / info.fps
        if fps > info.fps * FPS_SLACK:
            raise ConfigError(f"--shapes={shape}: {file} has {info.fps:g} frames a second")
        if not fits(info, shape.width, shape.height) or shape.frames / fps > 0.75 * seconds / count:
            raise ConfigError(f"--shapes={shape}: {file} is smaller or too short for {count} clips")
        starts = [int(seconds * (i + 0.25) / count * fps) for i in range(count)]
        views = [View(start, 1, shape.frames, shape.height, shape.width) for start in starts]
        return [
            HeldOutClip(f"{file}@{v.start / fps:.1f}s", read_clip(file, v, fps), fps) for v in views
        ]

    return clips


class Tiles(NamedTuple):
    """The overlapping tiles in which a frame is coded."""

    side: int  # pixels
    overlap: int  # pixels


def tiles_of(patch: patches.Size, frame: tuple[int, int], side: int = 0) -> Tiles | None:
    """Tiles of this side for a frame of (height, width); side 0 gives two along its longer side.

    Neighbouring tiles share about a quarter of a side, two tiles less. The result is None if the
    frame is too small for two tiles. Raises ConfigError naming --tile if the side is too small to
    share patches, or if one tile covers the frame.
    """
    patch_side, longer = max(patch[1:]), max(frame)
    if not side and longer < SMALLEST_TILED * patch_side:
        return None
    if not side:
        cells = -(-longer // patch_side)
        shared = max(cells // 8, 1)
        return Tiles(-(-(cells + shared) // 2) * patch_side, shared * patch_side)
    check(side > 2 * patch_side, "--tile", side, f"0 or more than two patches, {2 * patch_side}")
    several = any(-(-n // p) > -(-side // p) for n, p in zip(frame, patch[1:]))
    size = f"{frame[1]}x{frame[0]} pixels"
    check(several, "--tile", side, f"fewer patches than a side of the tiled clip has, {size}")
    return Tiles(side, max(side // 4 // patch_side, 1) * patch_side)


def score_seams(codec: Codec, clip: HeldOutClip, tiles: Tiles) -> dict[str, float]:
    """PSNR of a clip coded whole and in tiles, at the seams (where tiles overlap) and elsewhere.

    The tiles must be smaller than the frame.
    """
    side, overlap = tiles
    tiled = Codec(codec.cfg, codec.compute, codec.params, tile=side, overlap=overlap)
    height, width = clip.frames.shape[1:3]
    seams = seam_mask((height, width), tiled)
    found = {"tile": side, "overlap": overlap, "seam_share": float(seams.mean())}
    for name, coder in {"whole": codec, "tiled": tiled}.items():
        error = quality.squared_error(clip.frames, coder.reconstruct(clip.frames, clip.fps))
        for place, mask in {"": seams | True, "_seams": seams, "_elsewhere": ~seams}.items():
            found[name + place] = quality.to_decibels(error[:, mask].mean())
    return found


def seam_mask(size: tuple[int, int], codec: Codec) -> np.ndarray:
    """The pixels that lie in more than one tile: H W bool."""
    covers = []
    for pixels, side in zip(size, codec.cfg.patch[1:]):
        cells, tile, overlap = (-(-n // side) for n in (pixels, codec.tile, codec.overlap))
        cover = np.zeros(cells, int)
        for span in spans(cells, tile, overlap):
            cover[span.start : span.stop] += 1
        covers.append(cover.repeat(side)[:pixels])
    return np.outer(*covers) > 1


def _starts(size: int, piece: int) -> list[int]:
    """Where the pieces that cover `size` begin; the last piece is moved to end with it."""
    return [*range(0, max(size - piece, 0), piece), max(size - piece, 0)]


def _holds(catalog: Catalog, row: int, stride: int, shape: Shape) -> bool:
    needed = stride * (shape.frames - 1) + 1, shape.height, shape.width
    return all(there >= asked for there, asked in zip(size_of(catalog, row), needed))


def _cut(source: Source, row: int, stride: int, shape: Shape) -> HeldOutClip:
    view = View(0, stride, shape.frames, shape.height, shape.width)
    catalog = source.catalog
    return HeldOutClip(catalog.ids[row], source.read(row, view), float(catalog.fps[row]) / stride)


def _rates(catalog: Catalog, rows: Sequence[int]) -> str:
    rates = [f"{fps:g}" for fps in np.unique(catalog.fps[rows]).tolist()]
    return ", ".join(rates[:MOST_RATES] + ["..."] * (len(rates) > MOST_RATES))
