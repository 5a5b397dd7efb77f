"""What an autoencoder loses at other shapes than it was trained at, and at the seams of tiles."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from tools.autoencoder_scores import Clip, held_out, size_of, spread
from tools.cuts import Shape
from videodit.codec import Codec, spans
from videodit.config import ConfigError
from videodit.data import patches
from videodit.data.catalog import Catalog
from videodit.data.sources import Source
from videodit.data.video import View, fits, probe, read_clip
from videodit.eval import quality
from videodit.eval.baselines import LinearCode


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
            Clip(catalog.ids[row], source.read(row, view), float(catalog.fps[row]))
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
    sizes = zip(size_of(catalog, row), (shape.frames, shape.height, shape.width))
    return all(there >= asked for there, asked in sizes)
