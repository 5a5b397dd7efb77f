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
    start of the row and padding ends it. A clip may lack tokens that were dropped: the others keep
    their positions, and `grids` is that of the whole clip. The caption of segment m lies in the
    text row under text segment id m. Without the leading B the same tuple is one row.
    """

    tokens: np.ndarray  # B L P uint8 pixels of a patch (or float32 latents)
    positions: np.ndarray  # B L 3 float32: t in seconds, h and w in patches
    segment_ids: np.ndarray  # B L int32: 1..M, non-decreasing; 0 is padding
    given: np.ndarray  # B L bool: tokens that the task gives (noise level 0)
    noise_slot_ids: np.ndarray  # B L int32: 2 (segment - 1) + given; -1 is padding
    text_ids: np.ndarray  # B S int32: token ids of the captions
    text_segment_ids: np.ndarray  # B S int32: segment of the caption; 0 is padding
    text_positions: np.ndarray  # B S int32: index within the caption
    sample_ids: np.ndarray  # B M uint32: which draw of the stream of clips; seeds level and noise
    clip_ids: np.ndarray  # B M int32: row of the catalog; -1 where there is no clip
    grids: np.ndarray  # B M 3 int32: latent frames, height, width in patches; 0 where no clip
    fps: np.ndarray  # B M float32: frames per second of the pixels
    mode_ids: np.ndarray  # B M int32: index into data/planning/given.py:MODES
    valid: np.ndarray  # B M bool: the segment holds a clip
    replaced: np.ndarray  # B M bool: it stands for a broken clip, or is left empty for want of one


class Segment(NamedTuple):
    """One clip, ready to be put into a row: n tokens."""

    frames: np.ndarray  # T H W C uint8 pixels (or float32 latents)
    kept: np.ndarray | None  # flat t h w bool: the n tokens not dropped; None: all
    positions: np.ndarray  # n 3 float32, ordered (t, h, w)
    given: np.ndarray  # n bool
    grid: Size  # latent frames, height, width in patches, of the whole clip
    fps: float  # frames per second of the pixels
    text_ids: Sequence[int]  # token ids of the caption, with BOS and EOS
    mode_id: int  # index into data/planning/given.py:MODES
    sample_id: int  # which draw of the stream of clips
    clip_id: int  # row of the catalog


def segment(
    frames: np.ndarray,
    *,
    patch: Size,
    fps: float,
    text_ids: Sequence[int],
    grid: Size | None = None,
    given: np.ndarray | None = None,
    kept: np.ndarray | None = None,
    mode_id: int = 0,
    sample_id: int = 0,
    clip_id: int = 0,
) -> Segment:
    """The segment of a clip of frames T H W C; `fps` is theirs.

    Of latents t h w C, `grid` is (t, h, w), `patch` and `fps` are those of the pixels, and the row
    is packed with a patch of (1, 1, 1). `given` and `kept` are masks bool over the grid t h w (flat
    or not); by default nothing is given and no token dropped. A clip that is yet to be generated is
    one of black frames.
    """
    grid = grid or patches.grid(*frames.shape[:3], patch)
    positions = patches.positions(grid, fps, patch)
    given = np.zeros(len(positions), bool) if given is None else given.reshape(-1)
    if kept is not None:
        kept = kept.reshape(-1)
        positions, given = positions[kept], given[kept]
    return Segment(
        frames=frames,
        kept=kept,
        positions=positions,
        given=given,
        grid=grid,
        fps=fps,
        text_ids=text_ids,
        mode_id=mode_id,
        sample_id=sample_id,
        clip_id=clip_id,
    )


def empty_batch(
    rows: int,
    values: int,
    *,
    row_tokens: int,
    text_tokens: int,
    max_segments: int,
    dtype: type = np.uint8,
) -> PackedBatch:
    """A batch of rows without clips, for tokens of P = `values` numbers of `dtype`."""
    B, L, S, M = rows, row_tokens, text_tokens, max_segments
    return PackedBatch(
        tokens=np.zeros((B, L, values), dtype),
        positions=np.zeros((B, L, 3), np.float32),
        segment_ids=np.zeros((B, L), np.int32),
        given=np.zeros((B, L), bool),
        noise_slot_ids=np.full((B, L), -1, np.int32),
        text_ids=np.zeros((B, S), np.int32),
        text_segment_ids=np.zeros((B, S), np.int32),
        text_positions=np.zeros((B, S), np.int32),
        sample_ids=np.zeros((B, M), np.uint32),
        clip_ids=np.full((B, M), -1, np.int32),
        grids=np.zeros((B, M, 3), np.int32),
        fps=np.zeros((B, M), np.float32),
        mode_ids=np.zeros((B, M), np.int32),
        valid=np.zeros((B, M), bool),
        replaced=np.zeros((B, M), bool),
    )


def row_of(batch: PackedBatch, b: int) -> PackedBatch:
    """Row b of a batch, as views."""
    return PackedBatch(*(x[b] for x in batch))


def pack_row(
    segments: Sequence[Segment | None],
    out: PackedBatch,
    *,
    patch: Size,
    replaced: Sequence[bool] = (),
) -> None:
    """Fills an empty row (`row_of` an `empty_batch`) with the segments in their order.

    None leaves a slot empty: no tokens, not valid. `replaced` says which slots stand for a broken
    clip. Raises ConfigError if segments exceed a capacity, ValueError if floats are not finite.
    """
    clips = [s for s in segments if s is not None]
    _check_capacity("row_tokens", [len(s.positions) for s in clips], len(out.tokens))
    _check_capacity("text_tokens", [len(s.text_ids) for s in clips], len(out.text_ids))
    _check_capacity("max_segments", [1 for _ in segments], len(out.valid))
    out.replaced[: len(replaced)] = replaced
    start = text_start = 0
    for m, s in enumerate(segments):
        if s is not None:
            _check_finite(s)
            _put(out, m, s, start, text_start, patch)
            start, text_start = start + len(s.positions), text_start + len(s.text_ids)


def unpack(
    tokens: np.ndarray,
    batch: PackedBatch,
    patch: Size,
    sizes: Sequence[Size] | None = None,
    *,
    fill: float = 0,
) -> list[np.ndarray]:
    """Clips T H W C of every valid segment in (row, segment) order, from tokens B L P (any dtype).

    Each is as large as its grid, or cropped to its (frames, height, width) of `sizes`; cells whose
    token was dropped are `fill`. `patch` is that of the batch; latents of a batch without dropped
    tokens are patches of (1, 1, 1), which gives t h w P.
    """
    tokens, batch = np.asarray(tokens), PackedBatch(*map(np.asarray, batch))
    clips = []
    for b, m in np.argwhere(batch.valid):
        grid, here = tuple(batch.grids[b, m].tolist()), batch.segment_ids[b] == m + 1
        cells = tokens[b, here]
        if len(cells) < math.prod(grid):
            at = patches.cells_at(batch.positions[b, here], grid, batch.fps[b, m], patch)
            cells = np.full((math.prod(grid), tokens.shape[2]), fill, tokens.dtype)
            cells[at] = tokens[b, here]
        size = sizes[len(clips)] if sizes else patches.full_size(grid, patch)
        clips.append(patches.unpatchify(cells, grid, patch, size))
    return clips


def _put(row: PackedBatch, m: int, s: Segment, start: int, text_start: int, patch: Size) -> None:
    cells = slice(start, start + len(s.positions))
    if s.kept is None:
        patches.patchify(s.frames, patch, out=row.tokens[cells])
    else:
        row.tokens[cells] = patches.patchify(s.frames, patch)[s.kept]
    row.positions[cells] = s.positions
    row.segment_ids[cells] = m + 1
    row.given[cells] = s.given
    row.noise_slot_ids[cells] = 2 * m + s.given
    words = slice(text_start, text_start + len(s.text_ids))
    row.text_ids[words] = s.text_ids
    row.text_segment_ids[words] = m + 1
    row.text_positions[words] = np.arange(len(s.text_ids))
    row.sample_ids[m], row.clip_ids[m], row.grids[m] = s.sample_id, s.clip_id, s.grid
    row.fps[m], row.mode_ids[m], row.valid[m] = s.fps, s.mode_id, True


def _check_capacity(name: str, sizes: list[int], capacity: int) -> None:
    if sum(sizes) > capacity:
        parts = " + ".join(map(str, sizes))
        raise ConfigError(f"data.{name}={capacity}: a row of clips needs {parts} = {sum(sizes)}")


def _check_finite(s: Segment) -> None:
    if s.frames.dtype != np.uint8 and not np.isfinite(s.frames).all():
        raise ValueError(f"clip {s.clip_id} (sample {s.sample_id}) has values that are not finite")
