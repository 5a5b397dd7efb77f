"""PackedBatch, the one form in which visual data reaches a model, and how a row is filled.

Clips of different sizes share a row of fixed length (NaViT's Patch n' Pack, arXiv:2307.06304).
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from videodit.config import ConfigError
from videodit.data import patches
from videodit.data.patches import Size


class PackedBatch(NamedTuple):
    """B rows of L vision tokens and S text tokens, holding up to M clips each; K = 2 M.

    Tokens of one clip are contiguous and ordered (t, h, w); clips follow one another from the
    start of the row and padding ends it. The caption of segment m lies in the text row under
    text segment id m. Without the leading B the same tuple is one row.
    """

    tokens: np.ndarray  # B L P uint8 pixels of a patch (or float32 latents)
    positions: np.ndarray  # B L 3 float32: t in seconds, h and w in patches
    segment_ids: np.ndarray  # B L int32: 1..M, non-decreasing; 0 is padding
    given: np.ndarray  # B L bool: tokens that the task gives (noise level 0)
    noise_slot_ids: np.ndarray  # B L int32: 2 (segment - 1) + given; -1 is padding
    text_tokens: np.ndarray  # B S int32
    text_segment_ids: np.ndarray  # B S int32: segment of the caption; 0 is padding
    text_positions: np.ndarray  # B S int32: index within the caption
    sample_ids: np.ndarray  # B M uint32: which draw of the stream of clips; seeds level and noise
    clip_ids: np.ndarray  # B M int32: row of the catalog; -1 where there is no clip
    grids: np.ndarray  # B M 3 int32: latent frames, height, width in patches; 0 where no clip
    fps: np.ndarray  # B M float32: frames per second of the pixels
    task_ids: np.ndarray  # B M int32: index into data/given.py:TASKS
    valid: np.ndarray  # B M bool: the segment holds a clip


class Segment(NamedTuple):
    """One clip, ready to be put into a row."""

    tokens: np.ndarray  # n P uint8 pixels of a patch (or float32 latents), ordered (t, h, w)
    positions: np.ndarray  # n 3 float32
    grid: Size  # latent frames, height, width in patches: n cells
    fps: float  # frames per second of the pixels
    text_tokens: Sequence[int]  # the caption with BOS and EOS
    given: np.ndarray  # n bool
    task_id: int  # index into data/given.py:TASKS
    sample_id: int  # which draw of the stream of clips
    clip_id: int  # row of the catalog


def segment(
    frames: np.ndarray,
    *,
    patch: Size,
    fps: float,
    text_tokens: Sequence[int],
    given: np.ndarray | None = None,
    task_id: int = 0,
    sample_id: int = 0,
    clip_id: int = 0,
) -> Segment:
    """The segment of a clip of frames T H W 3 uint8; `given` is a mask t h w bool, or none.

    A clip that is yet to be generated is one of black frames.
    """
    grid = patches.grid(*frames.shape[:3], patch)
    return Segment(
        tokens=patches.patchify(frames, patch),
        positions=patches.positions(grid, fps, patch),
        grid=grid,
        fps=fps,
        text_tokens=text_tokens,
        given=np.zeros(math.prod(grid), bool) if given is None else given.reshape(-1),
        task_id=task_id,
        sample_id=sample_id,
        clip_id=clip_id,
    )


def pack_row(
    segments: Sequence[Segment],
    *,
    row_tokens: int,
    text_tokens: int,
    max_segments: int,
    patch: Size,
) -> PackedBatch:
    """One row (no leading B) of the segments in their order; of none, an empty row of pixels.

    Raises ConfigError if they exceed a capacity, ValueError if float tokens are not finite.
    """
    _check_capacity("row_tokens", [len(s.tokens) for s in segments], row_tokens)
    _check_capacity("text_tokens", [len(s.text_tokens) for s in segments], text_tokens)
    _check_capacity("max_segments", [1 for _ in segments], max_segments)
    values = segments[0].tokens if segments else np.empty((0, 3 * math.prod(patch)), np.uint8)
    row = _empty_row(values, row_tokens, text_tokens, max_segments)
    start = text_start = 0
    for m, s in enumerate(segments):
        _check_finite(s)
        _put(row, m, s, start, text_start)
        start, text_start = start + len(s.tokens), text_start + len(s.text_tokens)
    return row


def stack(rows: Sequence[PackedBatch]) -> PackedBatch:
    """A batch with leading B of rows that were packed with the same capacities."""
    return PackedBatch(*(np.stack(column) for column in zip(*rows)))


def unpack(
    tokens: np.ndarray, batch: PackedBatch, patch: Size, sizes: Sequence[Size] | None = None
) -> list[np.ndarray]:
    """Clips T H W C of every valid segment in (row, segment) order, from tokens B L P (any dtype).

    Each is as large as its grid, or cropped to its (frames, height, width) of `sizes`. Latents are
    patches of (1, 1, 1), which gives t h w P.
    """
    tokens, grids, valid = (np.asarray(x) for x in (tokens, batch.grids, batch.valid))
    lengths = grids.prod(-1)
    starts = lengths.cumsum(-1) - lengths
    clips = []
    for b, m in np.argwhere(valid):
        grid, start = tuple(grids[b, m].tolist()), starts[b, m]
        size = sizes[len(clips)] if sizes else patches.full_size(grid, patch)
        cells = tokens[b, start : start + lengths[b, m]]
        clips.append(patches.unpatchify(cells, grid, patch, size))
    return clips


def _empty_row(values: np.ndarray, L: int, S: int, M: int) -> PackedBatch:
    return PackedBatch(
        tokens=np.zeros((L, values.shape[1]), values.dtype),
        positions=np.zeros((L, 3), np.float32),
        segment_ids=np.zeros(L, np.int32),
        given=np.zeros(L, bool),
        noise_slot_ids=np.full(L, -1, np.int32),
        text_tokens=np.zeros(S, np.int32),
        text_segment_ids=np.zeros(S, np.int32),
        text_positions=np.zeros(S, np.int32),
        sample_ids=np.zeros(M, np.uint32),
        clip_ids=np.full(M, -1, np.int32),
        grids=np.zeros((M, 3), np.int32),
        fps=np.zeros(M, np.float32),
        task_ids=np.zeros(M, np.int32),
        valid=np.zeros(M, bool),
    )


def _put(row: PackedBatch, m: int, s: Segment, start: int, text_start: int) -> None:
    cells = slice(start, start + len(s.tokens))
    row.tokens[cells] = s.tokens
    row.positions[cells] = s.positions
    row.segment_ids[cells] = m + 1
    row.given[cells] = s.given
    row.noise_slot_ids[cells] = 2 * m + s.given
    words = slice(text_start, text_start + len(s.text_tokens))
    row.text_tokens[words] = s.text_tokens
    row.text_segment_ids[words] = m + 1
    row.text_positions[words] = np.arange(len(s.text_tokens))
    row.sample_ids[m], row.clip_ids[m], row.grids[m] = s.sample_id, s.clip_id, s.grid
    row.fps[m], row.task_ids[m], row.valid[m] = s.fps, s.task_id, True


def _check_capacity(name: str, sizes: list[int], capacity: int) -> None:
    if sum(sizes) > capacity:
        parts = " + ".join(map(str, sizes))
        raise ConfigError(f"data.{name}={capacity}: a row of clips needs {parts} = {sum(sizes)}")


def _check_finite(s: Segment) -> None:
    if s.tokens.dtype != np.uint8 and not np.isfinite(s.tokens).all():
        raise ValueError(f"clip {s.clip_id} (sample {s.sample_id}) has tokens that are not finite")
