"""A trained autoencoder as a codec: frames to latents and back, of any size and any duration.

  codec = Codec.read("runs/autoencoder")
  for latents in codec.encode_stream(frames, fps=24): ...

Video is coded chunk by chunk, which is exact (models/autoencoder.py): memory does not grow with
the duration. Frames too large for memory are coded in overlapping tiles, which is not exact.
Chunks are padded to one of few lengths, so that frames of any size share a few programs.
"""

from collections.abc import Iterable, Iterator
from functools import partial
from itertools import chain, islice
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from videodit.checkpoint import read_config, restore_ema
from videodit.config import AutoencoderConfig, ComputeConfig, ConfigError, MeshConfig, check
from videodit.data import patches
from videodit.models.autoencoder import (
    SIZES,
    Cells,
    Past,
    make_autoencoder,
    patch_values,
    to_bytes,
    to_pixels,
)
from videodit.nn.cache import KeysValues
from videodit.sharding import abstract, make_mesh
from videodit.tasks.autoencoder import AutoencoderTask
from videodit.tasks.registry import expect_task
from videodit.tasks.resolve import resolve_trained


class Codec:
    """encode_stream and decode_stream of one autoencoder, on one device.

    `tile` and `overlap` are sides in pixels, rounded up to whole patches; tile 0 codes every frame
    in one piece. Raises ConfigError if a tile is not larger than twice the overlap, or not larger
    than the overlap once both are rounded.
    """

    def __init__(
        self, cfg: AutoencoderConfig, compute: ComputeConfig, params, *, tile=0, overlap=32
    ):
        check(overlap >= 0, "overlap", overlap, "0 or more")
        check(tile == 0 or tile > 2 * overlap, "tile", tile, f"0 or more than twice {overlap=}")
        sizes = [(_up(tile, side), _up(overlap, side)) for side in cfg.patch[1:]]
        larger = all(cells > shared for cells, shared in sizes)
        check(tile == 0 or larger, "tile", tile, f"more patches than {overlap=} has")
        self.cfg, self.compute, self.params = cfg, compute, jax.device_put(params)
        self.tile, self.overlap = tile, overlap
        _, self._apply = make_autoencoder(cfg, compute)
        self._steps = {method: self._make_step(method) for method in ("encode", "decode")}

    @classmethod
    def read(cls, workdir: str | Path, field: str = "workdir", **options) -> "Codec":
        """The averaged weights of an autoencoder run; `options` are tile and overlap.

        Raises ConfigError if there are none; `field`: what it calls the workdir.
        """
        cfg = read_config(workdir, field)
        expect_task(cfg, AutoencoderTask, field, workdir)
        cfg = resolve_trained(cfg)
        init, _ = make_autoencoder(cfg.autoencoder, cfg.compute)
        with jax.set_mesh(make_mesh(MeshConfig(data=1))):
            target = abstract(init, jax.random.key(0))
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
            cells = _cells_of(chunk, self.cfg.patch, first=first)
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

    def _decode_pixels(self, latents, fps) -> Iterator[np.ndarray]:
        """Frames T H W 3 float32 in about [-1, 1]."""
        stream, patch = None, self.cfg.patch
        latents = map(self._checked_latents, latents)
        for first, chunk in _groups(chain.from_iterable(latents), 1, self.cfg.chunk):
            stream = stream or self._tiles("decode", chunk.shape[1:3], fps)
            yield stream.step(chunk, partial(_frames_of, patch=patch, first=first))

    def _checked_latents(self, latents: np.ndarray) -> np.ndarray:
        shape = np.shape(latents)
        good = len(shape) == 4 and shape[-1] == self.cfg.channels
        check(good, "latents of shape", shape, f"(t, h, w, {self.cfg.channels})")
        return latents

    def _tiles(self, method, grid, fps) -> "_Tiles":
        check(fps > 0, "fps", fps, "above 0")
        sides = self.cfg.patch[1:]
        tile = [_up(self.tile, side) for side in sides] if self.tile else grid
        return _Tiles(self, method, grid, tile, [_up(self.overlap, side) for side in sides], fps)

    def _make_step(self, method):
        def step(params, values, cells, past):
            values = to_pixels(values) if values.dtype == jnp.uint8 else values
            method_name, room = f"stream_{method}", past.cells.segment_ids.shape[1]
            output, new = self._apply(params, values, cells, past, method=method_name)
            return output, _padded(new, room)

        return jax.jit(step)


class _Stream:
    """One half of the codec over one clip, or over one tile of it.

    Two programs for each `padded_length`: of the first latent frame, and of chunks.
    """

    def __init__(self, codec: Codec, method: str, grid: tuple[int, int], fps: float):
        self.codec, self.method, self.grid, self.fps = codec, method, grid, fps
        self.frame = 0  # latent frames so far
        shape, nothing = SIZES[codec.cfg.size], self._cells(codec.cfg.chunk, frames=0)
        size = (shape.depth, *nothing.segment_ids.shape, shape.heads, shape.head_size)
        keys = jnp.zeros(size, codec.compute.dtype)
        self.past = Past(nothing, KeysValues(keys, keys))

    def step(self, values: np.ndarray) -> np.ndarray:
        """Values t h w P of the next latent frames, at most a chunk, to those of the output."""
        t, h, w, size = values.shape
        run = self.codec._steps[self.method]
        cells = self._cells(self.codec.cfg.chunk if self.frame else 1, frames=t)
        tokens = np.zeros((*cells.segment_ids.shape, size), values.dtype)
        tokens[0, : t * h * w] = values.reshape(-1, size)
        output, self.past = run(self.codec.params, tokens, cells, self.past)
        self.frame += t
        return np.asarray(output)[0, : t * h * w].reshape(t, h, w, -1)

    def _cells(self, room: int, *, frames: int) -> Cells:
        """Of `room` latent frames, of which `frames` are there; all else is padding."""
        cfg, (height, width) = self.codec.cfg, self.grid
        tokens = np.arange(padded_length(room * height * width))[None]
        t, h, w = np.unravel_index(tokens, (len(tokens[0]), height, width))
        latent_frame = (self.frame + t).astype(np.int32)
        seconds = latent_frame * (cfg.patch[0] / self.fps)
        positions = np.stack([seconds, h, w], axis=-1).astype(np.float32)
        whole = np.full(t.shape, height * width <= cfg.window**2)
        return Cells(positions, (t < frames).astype(np.int32), latent_frame, whole)


def _padded(past: Past, room: int) -> Past:
    """The past of `room` tokens, those that are not there being padding (segment 0)."""

    def pad(x, axis):
        widths = [(0, 0)] * x.ndim
        widths[axis] = (0, room - x.shape[axis])
        return jnp.pad(x, widths)

    cells = (pad(jnp.asarray(x), 1) for x in past.cells)
    return Past(Cells(*cells), KeysValues(*(pad(x, 2) for x in past.keys_values)))


class _Tiles:
    """Streams of overlapping tiles of a clip, blended linearly where they overlap."""

    def __init__(self, codec, method, grid, tile, overlap, fps):
        axes = [spans(*sizes) for sizes in zip(grid, tile, overlap)]
        self.tiles = [
            (rows, columns, _Stream(codec, method, (len(rows), len(columns)), fps))
            for rows in axes[0]
            for columns in axes[1]
        ]

    def step(self, values: np.ndarray, unfold=lambda cells: cells) -> np.ndarray:
        """As _Stream.step; `unfold` maps cells t h w P to the frames T H W C to be blended."""
        if len(self.tiles) == 1:
            return unfold(self.tiles[0][2].step(values))
        total = weights = None
        for rows, columns, stream in self.tiles:
            piece = unfold(stream.step(values[:, _slice(rows), _slice(columns)]))
            scale = [n // len(span) for n, span in zip(piece.shape[1:3], (rows, columns))]
            if total is None:
                sides = [n * size for n, size in zip(values.shape[1:3], scale)]
                total = np.zeros((len(piece), *sides, piece.shape[3]), np.float32)
                weights = np.zeros((*sides, 1), np.float32)
            weight = np.outer(_ramp(rows, scale[0], sides[0]), _ramp(columns, scale[1], sides[1]))
            place = _slice(rows, scale[0]), _slice(columns, scale[1])
            total[:, *place] += weight[..., None] * piece
            weights[place] += weight[..., None]
        return total / weights


def padded_length(tokens: int) -> int:
    """The least number, not smaller, whose binary digits after the first three are zeros.

    Less than a quarter is added, and twice the tokens need four programs more.
    """
    unit = 1 << max((tokens - 1).bit_length() - 3, 0)
    return -(-tokens // unit) * unit


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


def _cells_of(frames: np.ndarray, patch: patches.Size, *, first: bool) -> np.ndarray:
    """Frames T H W 3 of one chunk as cells t h w P."""
    _, h, w = patches.grid(*frames.shape[:3], patch)
    if not first:  # only a clip's own first frame is a latent frame alone
        frames = np.concatenate([frames[:1], frames])
    cells = patches.patchify(frames, patch).reshape(-1, h, w, patch_values(patch))
    return cells if first else cells[1:]


def _frames_of(cells: np.ndarray, patch: patches.Size, *, first: bool) -> np.ndarray:
    """The inverse: cells t h w P as whole frames T H W 3."""
    t, h, w, _ = cells.shape
    size = (t * patch[0], h * patch[1], w * patch[2])
    video = cells.reshape(t, h, w, *patch, 3).transpose(0, 3, 1, 4, 2, 5, 6).reshape(*size, 3)
    return video[-1:] if first else video
