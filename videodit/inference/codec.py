"""A codec over whole videos: frames to latents and back, of any size and any duration.

  codec = Codec.read("runs/autoencoder")
  for latents in codec.encode_stream(frames, fps=24): ...

Video is coded chunk by chunk, which is exact (models/autoencoder.py): memory does not grow with
the duration. Frames too large for memory are coded in overlapping tiles, which is not exact.
"""

from collections.abc import Iterable, Iterator
from functools import partial
from itertools import chain, islice
from pathlib import Path

import jax
import numpy as np

from videodit.checkpoint import read_config, restore_ema
from videodit.config import AutoencoderConfig, ComputeConfig, ConfigError, MeshConfig, check
from videodit.data import patches
from videodit.models.autoencoder import to_bytes
from videodit.models.protocols import CodecStream, Method
from videodit.models.registry import make_codec
from videodit.parameters import Params
from videodit.sharding import abstract, make_mesh
from videodit.tasks.autoencoder import AutoencoderTask
from videodit.tasks.registry import expect_task
from videodit.tasks.resolve import resolve_trained


class Codec:
    """encode_stream and decode_stream of one LatentCodec, on one device.

    `tile` and `overlap` are sides in pixels, rounded up to whole patches; tile 0 codes every frame
    in one piece. Raises ConfigError if a tile is not larger than twice the overlap, or not larger
    than the overlap once both are rounded.
    """

    def __init__(
        self,
        cfg: AutoencoderConfig,
        compute: ComputeConfig,
        params: Params,
        *,
        tile: int = 0,
        overlap: int = 32,
    ) -> None:
        check(overlap >= 0, "overlap", overlap, "0 or more")
        check(tile == 0 or tile > 2 * overlap, "tile", tile, f"0 or more than twice {overlap=}")
        sizes = [(_up(tile, side), _up(overlap, side)) for side in cfg.patch[1:]]
        larger = all(cells > shared for cells, shared in sizes)
        check(tile == 0 or larger, "tile", tile, f"more patches than {overlap=} has")
        self.cfg, self.compute, self.params = cfg, compute, jax.device_put(params)
        self.tile, self.overlap = tile, overlap
        self.codec = make_codec(cfg, compute)

    @classmethod
    def read(cls, workdir: str | Path, field: str = "workdir", **options: int) -> "Codec":
        """The averaged weights of an autoencoder run; `options` are tile and overlap.

        Raises ConfigError if there are none; `field`: what it calls the workdir.
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
        """Latents of frames H W 3 uint8, all of one size: t h w C float32, chunk by chunk.

        The first chunk is the first frame, every later one has at most `chunk` latent frames. The
        last frame is repeated to fill its patch. Raises ConfigError for other frames, for frames of
        several sizes, and for an fps that is not above 0.
        """
        stream, frames = None, map(_checked_frame, frames)
        for first, chunk in _groups(frames, 1, self.cfg.patch[0] * self.cfg.chunk):
            cells = patches.cells_of(chunk, self.cfg.patch, first=first)
            stream = stream or self._tiles("encode", cells.shape[1:3], fps)
            yield stream.step(cells)

    def decode_stream(
        self, latents: Iterable[np.ndarray], fps: float, size: tuple[int, int] | None = None
    ) -> Iterator[np.ndarray]:
        """Frames T H W 3 uint8, chunk by chunk, of latents t h w C in pieces of any duration.

        `size`: height and width to crop to. The first latent frame gives one frame, every later
        one as many as a patch has. Raises ConfigError for other latents, and for a bad fps.
        """
        for pixels in self._decode_pixels(latents, fps):
            height, width = size or pixels.shape[1:3]
            yield np.asarray(to_bytes(pixels[:, :height, :width]))

    def reconstruct(self, frames: np.ndarray, fps: float) -> np.ndarray:
        """Frames T H W 3 uint8 encoded and decoded again: the same shape. Raises ConfigError."""
        check(len(frames) > 0, "frames", len(frames), "at least one")
        latents = self.encode_stream(frames, fps)
        chunks = self.decode_stream(latents, fps, frames.shape[1:3])
        return np.concatenate(list(chunks))[: len(frames)]

    def stream(self, method: Method, grid: tuple[int, int], fps: float) -> CodecStream:
        """One half of the codec over a clip with frames of `grid` (height, width) cells."""
        return self.codec.stream(self.params, method, grid, fps)

    def _decode_pixels(self, latents: Iterable[np.ndarray], fps: float) -> Iterator[np.ndarray]:
        """Frames T H W 3 float32 in about [-1, 1]."""
        stream, patch = None, self.cfg.patch
        latents = map(self._checked_latents, latents)
        for first, chunk in _groups(chain.from_iterable(latents), 1, self.cfg.chunk):
            stream = stream or self._tiles("decode", chunk.shape[1:3], fps)
            yield stream.step(chunk, partial(patches.frames_of, patch=patch, first=first))

    def _checked_latents(self, latents: np.ndarray) -> np.ndarray:
        shape = np.shape(latents)
        good = len(shape) == 4 and shape[-1] == self.cfg.channels
        check(good, "latents of shape", shape, f"(t, h, w, {self.cfg.channels})")
        return latents

    def _tiles(self, method: Method, grid: tuple[int, int], fps: float) -> "_Tiles":
        check(fps > 0, "fps", fps, "above 0")
        sides = self.cfg.patch[1:]
        tile = [_up(self.tile, side) for side in sides] if self.tile else grid
        return _Tiles(self, method, grid, tile, [_up(self.overlap, side) for side in sides], fps)


class _Tiles:
    """Streams of overlapping tiles of a clip, blended linearly where they overlap."""

    def __init__(self, codec, method, grid, tile, overlap, fps):
        axes = [spans(*sizes) for sizes in zip(grid, tile, overlap)]
        self.tiles = [
            (rows, columns, codec.stream(method, (len(rows), len(columns)), fps))
            for rows in axes[0]
            for columns in axes[1]
        ]

    def step(self, values: np.ndarray, unfold=lambda cells: cells) -> np.ndarray:
        """As `CodecStream.step`; `unfold` maps cells t h w P to frames T H W C, to be blended."""
        if len(self.tiles) == 1:
            return unfold(self.tiles[0][2].step(values))
        total, weights = np.zeros(0), np.zeros(0)
        for rows, columns, stream in self.tiles:
            piece = unfold(stream.step(values[:, _slice(rows), _slice(columns)]))
            scale = [n // len(span) for n, span in zip(piece.shape[1:3], (rows, columns))]
            if not total.size:
                sides = [n * size for n, size in zip(values.shape[1:3], scale)]
                total = np.zeros((len(piece), *sides, piece.shape[3]), np.float32)
                weights = np.zeros((*sides, 1), np.float32)
            weight = np.outer(_ramp(rows, scale[0], sides[0]), _ramp(columns, scale[1], sides[1]))
            place = _slice(rows, scale[0]), _slice(columns, scale[1])
            total[:, *place] += weight[..., None] * piece
            weights[place] += weight[..., None]
        return total / weights


def spans(size: int, tile: int, overlap: int) -> list[range]:
    """Tiles of one axis, evenly spread, that share at least `overlap` cells."""
    if size <= tile:
        return [range(size)]
    count = -(-(size - overlap) // (tile - overlap))
    starts = np.rint(np.linspace(0, size - tile, count)).astype(int).tolist()
    return [range(start, start + tile) for start in starts]


def _up(pixels: int, side: int) -> int:
    """The patches with this side that hold so many pixels."""
    return -(-pixels // side)


def _slice(span: range, scale: int = 1) -> slice:
    return slice(span.start * scale, span.stop * scale)


def _ramp(span: range, scale: int, size: int) -> np.ndarray:
    """Weights of a tile along one axis: they fall to its ends, but not at the ends of the frame."""
    length = len(span) * scale
    rise = (np.arange(length) + 0.5) / length
    before = rise if span.start > 0 else np.ones(length)
    after = rise[::-1] if span.stop * scale < size else np.ones(length)
    return np.minimum(before, after).astype(np.float32)


def _groups(items: Iterable, first: int, size: int) -> Iterator[tuple[bool, np.ndarray]]:
    """Items stacked: `first` of them, then `size` at a time; with each whether it is the first."""
    items, is_first = iter(items), True
    while group := list(islice(items, first if is_first else size)):
        if len({item.shape for item in group}) > 1:
            raise ConfigError(f"frames of one size expected, not {[x.shape for x in group]}")
        yield is_first, np.stack(group)
        is_first = False


def _checked_frame(frame: np.ndarray) -> np.ndarray:
    shape, dtype = np.shape(frame), getattr(frame, "dtype", type(frame).__name__)
    good = len(shape) == 3 and shape[-1] == 3 and dtype == np.uint8
    check(good, "frame", f"{dtype} {shape}", "uint8 (height, width, 3)")
    return frame
