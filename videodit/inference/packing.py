"""Requests of any shape in rows of a few fixed shapes, in groups of bounded size.

A program is compiled for each `GroupShape` that is used: some rows of one length. Requests that fit
into one group go into the smallest that takes them; if they need several groups, all of these have
the largest shape, because another compilation costs more than a last group that is not full.
"""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from videodit.config import Config, ConfigError, DataConfig, check
from videodit.data import patches
from videodit.data.packing import PackedBatch, Segment, empty_batch, pack_row, row_of, segment
from videodit.data.planning.fitting import fit_decreasing
from videodit.data.tokenizer import Tokenizer
from videodit.inference.request import Given, Request
from videodit.models.registry import codec_class
from videodit.sharding import axis_size

DIVISORS = (8, 4, 2)  # of the run's rows, for requests that need less


class GroupShape(NamedTuple):
    """Rows that are sampled together, and what each of them holds at most."""

    rows: int
    row_tokens: int
    text_tokens: int
    max_segments: int


class RequestGroup(NamedTuple):
    """The requests that are sampled together: for each row, their indices."""

    shape: GroupShape
    rows: list[list[int]]

    def order(self) -> list[int]:
        """Indices of the requests as their clips follow one another in the batch."""
        return [i for row in self.rows for i in row]


def group_shapes(data: DataConfig, group_tokens: int) -> list[GroupShape]:
    """The shapes of groups on the current mesh, smallest first.

    The first ones have one row per device, of an eighth, a quarter, half and all of the run's row.
    The next ones have two whole rows per device, four, and so on, up to `group_tokens` tokens.
    """
    devices, ways = axis_size("batch"), axis_size("length")
    whole = data.row_tokens, data.text_tokens, data.max_segments

    def part(divisor: int) -> GroupShape:
        tokens, text, segments = (-(-size // divisor) for size in whole)
        return GroupShape(devices, tokens + -tokens % ways, text + -text % ways, segments)

    rows = [1]
    while 2 * rows[-1] * data.row_tokens <= group_tokens:
        rows.append(2 * rows[-1])
    return [*map(part, DIVISORS), *(GroupShape(n * devices, *whole) for n in rows)]


class Packer:
    """Packs requests for a model of `cfg`, whose data.text_tokens is known, on the current mesh."""

    def __init__(self, cfg: Config, tokenizer: Tokenizer, group_tokens: int = 0) -> None:
        self._data, self._patch, self._tokenizer = cfg.data, cfg.autoencoder.patch, tokenizer
        packed = codec_class(cfg.autoencoder).packed
        # Channels of the latents that are packed for a codec which takes no packed pixels; else 0.
        self._channels = 0 if packed else cfg.autoencoder.channels
        self.shapes = group_shapes(cfg.data, group_tokens)

    def groups(self, requests: Sequence[Request]) -> list[RequestGroup]:
        """Groups that hold every request once; ConfigError for one that the model cannot make."""
        sizes = [self._size(request) for request in requests]
        if not sizes:
            return []
        lengths, texts = zip(*sizes)
        if single := _smallest(self.shapes, lengths, texts):
            return [single]
        largest = self.shapes[-1]
        rows = fit_decreasing(lengths, texts, **_capacities(largest))
        return [RequestGroup(largest, chunk) for chunk in _chunks(rows, largest.rows)]

    def batch(self, group: RequestGroup, requests: Sequence[Request]) -> PackedBatch:
        """The group's clips in rows, black where they are to be generated; numpy arrays.

        Clips for a codec that is not packed are latents of zeros.
        """
        patch: patches.Size = (1, 1, 1) if self._channels else self._patch
        values = self._channels or 3 * math.prod(patch)
        dtype = np.dtype("float32" if self._channels else "uint8")
        capacities = _capacities(group.shape)
        batch = empty_batch(group.shape.rows, values, **capacities, dtype=dtype)
        for b, row in enumerate(group.rows):
            pack_row([self._segment(requests[i]) for i in row], row_of(batch, b), patch=patch)
        return batch

    def _size(self, request: Request) -> tuple[int, int]:
        """Tokens and text tokens of a request; ConfigError if the model cannot make it."""
        _, height, width = self._patch
        size = f"{request.width}x{request.height}, {request.frames} frames"
        if request.width < width or request.height < height:
            raise ConfigError(f"size {size}: expected at least one patch, {width}x{height}")
        shape = request.frames, request.height, request.width
        tokens = math.prod(patches.grid(*shape, self._patch))
        if tokens > self._data.row_tokens:
            raise ConfigError(
                f"size {size}: needs {tokens} tokens; this model's rows have "
                f"data.row_tokens={self._data.row_tokens}"
            )
        text = len(self._tokenizer.encode(request.prompt))
        if text > self._data.text_tokens:
            raise ConfigError(
                f"the prompt has {text} text tokens; this model takes at most "
                f"data.text_tokens={self._data.text_tokens}: {request.prompt[:60]!r}..."
            )
        if request.given is not None:
            expected = "None: the codec of this model encodes only whole clips"
            check(self._channels == 0, "given", "Given", expected)
            given_cells(request.given, self._patch)
        return tokens, text

    def _segment(self, request: Request) -> Segment:
        given, shape = request.given, (request.frames, request.height, request.width)
        grid = patches.grid(*shape, self._patch)
        if self._channels:
            frames = np.zeros((*grid, self._channels), np.float32)
        else:
            frames = np.zeros((*shape, 3), np.uint8) if given is None else given.frames
        return segment(
            frames,
            grid=grid,
            patch=self._patch,
            fps=request.fps,
            text_ids=self._tokenizer.encode(request.prompt),
            given=None if given is None else given_cells(given, self._patch),
            sample_id=request.seed,
        )


def given_cells(given: Given, patch: patches.Size) -> np.ndarray:
    """Bool t h w: the latent cells all of whose pixels are given.

    Raises ConfigError for given frames that follow one another and fill no cell.
    """
    frames, height, width, _ = given.frames.shape
    mask = given.mask.reshape(-1, 1, 1) if given.mask.ndim == 1 else given.mask
    pixels = np.ascontiguousarray(np.broadcast_to(mask, (frames, height, width)))
    tokens = np.all(patches.patchify(pixels[..., None], patch), axis=-1)
    cells = np.reshape(tokens, patches.grid(frames, height, width, patch))
    there = np.pad(pixels.any((1, 2)), 1)
    for start, stop in np.flatnonzero(there[1:] != there[:-1]).reshape(-1, 2).tolist():
        pt, ph, pw = patch
        first, last = (1 + (frame - 1) // pt for frame in (start, stop - 1))
        check(
            bool(cells[first : last + 1].any()),
            "given.mask",
            f"frames {start} to {stop - 1}",
            f"all of a latent cell: {ph} x {pw} pixels of frame 0, or of {pt} frames from 1, "
            f"{1 + pt}, {1 + 2 * pt}, ... on",
        )
    return cells


def _smallest(
    shapes: Sequence[GroupShape], lengths: Sequence[int], texts: Sequence[int]
) -> RequestGroup | None:
    """All requests in a group of the first shape that takes them; None if none does."""
    for shape in shapes:
        if _may_fit(shape, lengths, texts):
            rows = fit_decreasing(lengths, texts, rows=shape.rows, **_capacities(shape))
            if sum(map(len, rows)) == len(lengths):
                return RequestGroup(shape, rows)
    return None


def _may_fit(shape: GroupShape, lengths: Sequence[int], texts: Sequence[int]) -> bool:
    each = max(lengths) <= shape.row_tokens and max(texts) <= shape.text_tokens
    needed = sum(lengths), sum(texts), len(lengths)
    return each and all(n <= shape.rows * size for n, size in zip(needed, shape[1:]))


def _capacities(shape: GroupShape) -> dict[str, int]:
    return {name: value for name, value in shape._asdict().items() if name != "rows"}


def _chunks(rows: list[list[int]], size: int) -> Iterator[list[list[int]]]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
