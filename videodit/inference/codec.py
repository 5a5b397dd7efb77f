"""A codec over whole videos: it turns frames of any size and number into latents and back.

  codec = Codec.read("runs/autoencoder")
  for latents in codec.encode_stream(frames, fps=24): ...

Video is coded chunk by chunk, so memory does not grow with the duration; the result equals that of
coding the whole video at once (models/autoencoder.py). Frames that are too large for memory are
coded in overlapping tiles, which changes the result.
"""

import logging
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np

from videodit.checkpoint import read_config, restore_ema
from videodit.config import AutoencoderConfig, ComputeConfig, ConfigError, MeshConfig, check
from videodit.data import patches
from videodit.models.autoencoder import to_bytes
from videodit.models.protocols import CodecStream, LatentCodec, Method
from videodit.models.registry import make_codec
from videodit.parameters import Params
from videodit.sharding import abstract, make_mesh
from videodit.tasks.autoencoder import AutoencoderTask
from videodit.tasks.registry import expect_task
from videodit.tasks.resolve import resolve_trained

T = TypeVar("T")
logger = logging.getLogger(__name__)

Grid = tuple[int, int]  # rows and columns of cells


class NotFinite(ConfigError):
    """A model's output is NaN or infinite: its weights are broken."""


class Codec:
    """Encodes and decodes video with one LatentCodec, on one device.

    `tile` is the side of a tile in pixels and `overlap` what neighbours share; both are rounded up
    to whole patches. With tile=0 every frame is coded in one piece. `codec`, of the same config,
    shares its compiled programs. Raises ConfigError if a tile is not larger than twice the overlap,
    or not larger than the overlap after rounding.
    """

    def __init__(
        self,
        cfg: AutoencoderConfig,
        compute: ComputeConfig,
        params: Params,
        *,
        tile: int = 0,
        overlap: int = 32,
        codec: LatentCodec | None = None,
    ) -> None:
        check(overlap >= 0, "overlap", overlap, "0 or more")
        check(tile == 0 or tile > 2 * overlap, "tile", tile, f"0 or more than twice {overlap=}")
        sizes = [(_up(tile, side), _up(overlap, side)) for side in cfg.patch[1:]]
        larger = all(cells > shared for cells, shared in sizes)
        check(tile == 0 or larger, "tile", tile, f"more patches than {overlap=} has")
        self.cfg, self.compute, self.params = cfg, compute, jax.device_put(params)
        self.tile, self.overlap = tile, overlap
        self.codec = codec or make_codec(cfg, compute)

    @classmethod
    def read(cls, workdir: str | Path, field: str = "workdir", **options: Any) -> "Codec":
        """A codec with the EMA weights of an autoencoder run; `options`: tile and overlap.

        Raises ConfigError, in which `field` names the workdir, if there are no such weights.
        """
        cfg = read_config(workdir, field)
        expect_task(cfg, AutoencoderTask, field, workdir)
        cfg = resolve_trained(cfg)
        codec = make_codec(cfg.autoencoder, cfg.compute)
        with jax.set_mesh(make_mesh(MeshConfig(data=1))):
            target = abstract(codec.init, jax.random.key(0))
            params = restore_ema(workdir, target, field)
        return cls(cfg.autoencoder, cfg.compute, jax.device_get(params), **options)

    def encode_stream(self, frames: Iterable[np.ndarray], fps: float) -> Iterator[np.ndarray]:
        """Encodes frames H W 3 uint8 of one size; yields latents t h w C float32 chunk by chunk.

        The first chunk is the first frame. Every later chunk has at most cfg.chunk latent frames.
        The last frame is repeated to fill its patch. Raises ConfigError for frames of another kind
        or of several sizes, and for an fps that is not above 0.
        """
        stream = None
        for first, chunk in _groups(
            map(_checked_frame, frames), 1, self.cfg.patch[0] * self.cfg.chunk
        ):
            cells = patches.cells_of(chunk, self.cfg.patch, first=first)
            stream = stream or self._tiles("encode", cells.shape[1:3], fps)
            yield _checked_output(stream.step(cells), "latents")

    def decode_stream(
        self, latents: Iterable[np.ndarray], fps: float, size: tuple[int, int] | None = None
    ) -> Iterator[np.ndarray]:
        """Decodes latents t h w C, in pieces of any duration; yields frames T H W 3 uint8.

        `size` is the height and width to crop to. The first latent frame gives one frame, and every
        later one as many as a patch has. Raises ConfigError for latents of another shape, and for
        an fps that is not above 0.
        """
        for pixels in self._decode_pixels(latents, fps):
            height, width = size or pixels.shape[1:3]
            yield np.asarray(to_bytes(pixels[:, :height, :width]))

    def reconstruct(self, frames: np.ndarray, fps: float) -> np.ndarray:
        """Encodes and decodes frames T H W 3 uint8; returns the same shape.

        Raises ConfigError as `encode_stream` does, and if there is no frame.
        """
        check(len(frames) > 0, "frames", len(frames), "at least one")
        latents = self.encode_stream(frames, fps)
        chunks = self.decode_stream(latents, fps, frames.shape[1:3])
        return np.concatenate(list(chunks))[: len(frames)]

    def stream(self, method: Method, grid: Grid, fps: float) -> CodecStream:
        """Encodes or decodes, step by step, a clip with frames of `grid` cells."""
        return self.codec.stream(self.params, method, grid, fps)

    def _decode_pixels(self, latents: Iterable[np.ndarray], fps: float) -> Iterator[np.ndarray]:
        """Frames T H W 3 float32 in about [-1, 1]."""
        stream, patch = None, self.cfg.patch
        cells = chain.from_iterable(map(self._checked_latents, latents))
        for first, chunk in _groups(cells, 1, self.cfg.chunk):
            stream = stream or self._tiles("decode", chunk.shape[1:3], fps)
            unfold = partial(patches.frames_of, patch=patch, first=first)
            yield _checked_output(stream.step(chunk, unfold), "pixels")

    def _checked_latents(self, latents: np.ndarray) -> np.ndarray:
        shape = np.shape(latents)
        good = len(shape) == 4 and shape[-1] == self.cfg.channels
        check(good, "latents of shape", shape, f"(t, h, w, {self.cfg.channels})")
        return latents

    def _tiles(self, method: Method, grid: Grid, fps: float) -> "_Tiles":
        check(fps > 0, "fps", fps, "above 0")
        sides = self.cfg.patch[1:]
        rows, columns = (_up(self.tile, side) for side in sides) if self.tile else grid
        height, width = (_up(self.overlap, side) for side in sides)
        return _Tiles(self, method, grid, (rows, columns), (height, width), fps)


class _Tiles:
    """One stream for each tile of a clip; tiles are blended linearly where they overlap."""

    def __init__(
        self, codec: Codec, method: Method, grid: Grid, tile: Grid, overlap: Grid, fps: float
    ) -> None:
        axes = [spans(*sizes) for sizes in zip(grid, tile, overlap)]
        self.tiles = [
            (rows, columns, codec.stream(method, (len(rows), len(columns)), fps))
            for rows in axes[0]
            for columns in axes[1]
        ]

    def step(
        self, values: np.ndarray, unfold: Callable[[np.ndarray], np.ndarray] = lambda cells: cells
    ) -> np.ndarray:
        """As `CodecStream.step`; `unfold` maps cells t h w P to frames T H W C, to be blended."""
        if len(self.tiles) == 1:
            return unfold(self.tiles[0][2].step(values))
        pieces = [
            (rows, columns, unfold(stream.step(values[:, _slice(rows), _slice(columns)])))
            for rows, columns, stream in self.tiles
        ]
        height, width = values.shape[1:3]
        return _blended(pieces, (height, width))


def _blended(pieces: list[tuple[range, range, np.ndarray]], grid: Grid) -> np.ndarray:
    """Weighted means T H W C of tiles: the rows and columns of cells of each, and its frames."""
    rows, columns, piece = pieces[0]
    scale = piece.shape[1] // len(rows), piece.shape[2] // len(columns)
    sides = grid[0] * scale[0], grid[1] * scale[1]
    total = np.zeros((len(piece), *sides, piece.shape[3]), np.float32)
    weights = np.zeros((*sides, 1), np.float32)
    for rows, columns, piece in pieces:
        weight = np.outer(_ramp(rows, scale[0], sides[0]), _ramp(columns, scale[1], sides[1]))
        place = _slice(rows, scale[0]), _slice(columns, scale[1])
        total[:, *place] += weight[..., None] * piece
        weights[place] += weight[..., None]
    return total / weights


def if_finite(sample: Callable[..., T], *args: Any) -> T | None:
    """`sample(*args)`; None, after a warning, if what a model samples is not finite."""
    try:
        return sample(*args)
    except NotFinite as error:
        logger.warning("%s", error)
        return None


def spans(size: int, tile: int, overlap: int) -> list[range]:
    """The cells of each tile along one axis.

    Tiles are evenly spread, and neighbours share at least `overlap` cells.
    """
    if size <= tile:
        return [range(size)]
    count = -(-(size - overlap) // (tile - overlap))
    starts = np.rint(np.linspace(0, size - tile, count)).astype(int).tolist()
    return [range(start, start + tile) for start in starts]


def _up(pixels: int, side: int) -> int:
    """How many patches of this side hold so many pixels."""
    return -(-pixels // side)


def _slice(span: range, scale: int = 1) -> slice:
    return slice(span.start * scale, span.stop * scale)


def _ramp(span: range, scale: int, size: int) -> np.ndarray:
    """Weights of a tile along one axis: they fall towards an end that another tile overlaps."""
    length = len(span) * scale
    rise = (np.arange(length) + 0.5) / length
    before = rise if span.start > 0 else np.ones(length)
    after = rise[::-1] if span.stop * scale < size else np.ones(length)
    return np.minimum(before, after).astype(np.float32)


def _groups(
    items: Iterable[np.ndarray], first: int, size: int
) -> Iterator[tuple[bool, np.ndarray]]:
    """Stacks `first` items, then `size` at a time; yields whether it is the first stack, and it."""
    rest, is_first = iter(items), True
    while group := list(islice(rest, first if is_first else size)):
        if len({item.shape for item in group}) > 1:
            raise ConfigError(f"frames of one size expected, not {[x.shape for x in group]}")
        yield is_first, np.stack(group)
        is_first = False


def _checked_output(values: np.ndarray, what: str) -> np.ndarray:
    if not np.isfinite(values).all():
        raise NotFinite(
            f"the codec's {what} are not finite: expected weights of a sound checkpoint"
        )
    return values


def _checked_frame(frame: np.ndarray) -> np.ndarray:
    shape, dtype = np.shape(frame), getattr(frame, "dtype", type(frame).__name__)
    good = len(shape) == 3 and shape[-1] == 3 and dtype == np.uint8
    check(good, "frame", f"{dtype} {shape}", "uint8 (height, width, 3)")
    return frame
