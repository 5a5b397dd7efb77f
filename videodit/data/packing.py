"""PackedBatch, the one form in which visual data reaches a model, and the filling of its rows.

Clips of different sizes share a row of fixed length (NaViT's Patch n' Pack, arXiv:2307.06304).
"""

import math
from collections.abc import Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np

from videodit.config import ConfigError
from videodit.data import patches
from videodit.data.patches import Size

# numpy arrays on the host, jax arrays on devices, or what describes them, such as shardings.
Leaf = TypeVar("Leaf")


class PackedBatch(NamedTuple, Generic[Leaf]):
    """B rows of L vision tokens, S text tokens, up to M clips and up to K noise slots each.

    The tokens of a clip are contiguous and ordered (t, h, w). Clips follow one another from the
    start of the row, and padding ends it. A clip may lack tokens that were dropped: the others keep
    their positions, and `grids` is that of the whole clip. The caption of segment m lies in the
    text row under text segment id m. All tokens of a noise slot have the same noise level; a
    segment may have any number of slots. The same tuple without the leading B is one row.
    """

    tokens: Leaf  # B L P uint8 pixels of a patch (or float32 latents)
    positions: Leaf  # B L 3 float32: t in seconds, h and w in patches
    segment_ids: Leaf  # B L int32: 1..M, non-decreasing; 0 is padding
    given: Leaf  # B L bool: the token is given to the model (noise level 0)
    noise_slot_ids: Leaf  # B L int32: the slot of the token, 0..K-1; -1 is padding
    slot_segments: Leaf  # B K int32: the segment that the slot is part of; 0: not used
    slot_given: Leaf  # B K bool: the tokens of the slot are given
    text_ids: Leaf  # B S int32: token ids of the captions
    text_segment_ids: Leaf  # B S int32: segment of the caption; 0 is padding
    text_positions: Leaf  # B S int32: index within the caption
    sample_ids: Leaf  # B M uint32: number of the pick in the stream of clips; seeds level and noise
    clip_ids: Leaf  # B M int32: row of the catalog; -1 where there is no clip
    grids: Leaf  # B M 3 int32: latent frames, height, width in patches; 0 where no clip
    fps: Leaf  # B M float32: frames per second of the pixels
    mode_ids: Leaf  # B M int32: index into data/planning/given.py:MODES
    valid: Leaf  # B M bool: the segment holds a clip
    replaced: Leaf  # B M bool: a spare replaces a broken clip here, or there was no spare


HostBatch = PackedBatch[np.ndarray]


class Segment(NamedTuple):
    """A clip of n tokens, ready to be put into a row."""

    frames: np.ndarray  # T H W C uint8 pixels (or float32 latents)
    kept: np.ndarray | None  # flat t h w bool: the n tokens that were not dropped; None: all
    positions: np.ndarray  # n 3 float32, ordered (t, h, w)
    given: np.ndarray  # n bool
    grid: Size  # of the whole clip: latent frames, height and width in patches
    fps: float  # frames per second of the pixels
    text_ids: Sequence[int]  # token ids of the caption, with BOS and EOS
    mode_id: int  # index into data/planning/given.py:MODES
    sample_id: int  # number of the pick in the stream of clips
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
    """Makes the segment of a clip of frames T H W C at `fps` frames per second.

    For latents t h w C, pass `grid` = (t, h, w) with the `patch` and `fps` of the pixels, and pack
    the row with a patch of (1, 1, 1). `given` and `kept` are masks bool over the grid t h w (flat
    or not); by default nothing is given and no token is dropped. A clip that is to be generated is
    made of black frames.
    """
    grid = grid or patches.grid_of(frames, patch)
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
    noise_slots: int | None = None,
    dtype: Any = np.uint8,
) -> HostBatch:
    """A batch of rows without clips; a token is P = `values` numbers of `dtype`.

    noise_slots: K; by default there are two a segment, as `pack_row` fills them.
    """
    B, L, S, M = rows, row_tokens, text_tokens, max_segments
    K = 2 * M if noise_slots is None else noise_slots
    return PackedBatch(
        tokens=np.zeros((B, L, values), dtype),
        positions=np.zeros((B, L, 3), np.float32),
        segment_ids=np.zeros((B, L), np.int32),
        given=np.zeros((B, L), bool),
        noise_slot_ids=np.full((B, L), -1, np.int32),
        slot_segments=np.zeros((B, K), np.int32),
        slot_given=np.zeros((B, K), bool),
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


def row_of(batch: HostBatch, b: int) -> HostBatch:
    """Row b of a batch: views of its arrays."""
    return PackedBatch(*(x[b] for x in batch))


def pack_row(
    segments: Sequence[Segment | None],
    out: HostBatch,
    *,
    patch: Size,
    replaced: Sequence[bool] = (),
) -> None:
    """Fills an empty row (`row_of` an `empty_batch`) with the segments in their order.

    None leaves a slot empty: it has no tokens and is not valid. `replaced` says in which slots a
    clip was broken. Raises ConfigError if the segments exceed a capacity of the row, ValueError if
    floats are not finite.
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
    """The clips T H W C of all valid segments in (row, segment) order, from tokens B L P.

    A clip is as large as its grid, or cropped to its (frames, height, width) in `sizes`. Cells
    whose token was dropped get the value `fill`. `patch` is the batch's; for latents of a batch
    without dropped tokens pass (1, 1, 1), which gives clips t h w P. Clips have the dtype of
    `tokens`.
    """
    tokens, batch = np.asarray(tokens), PackedBatch(*map(np.asarray, batch))
    clips: list[np.ndarray] = []
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


def _put(row: HostBatch, m: int, s: Segment, start: int, text_start: int, patch: Size) -> None:
    cells = slice(start, start + len(s.positions))
    if s.kept is None:
        patches.patchify(s.frames, patch, out=row.tokens[cells])
    else:
        row.tokens[cells] = patches.patchify(s.frames, patch)[s.kept]
    row.positions[cells] = s.positions
    row.segment_ids[cells] = m + 1
    row.given[cells] = s.given
    row.noise_slot_ids[cells] = 2 * m + s.given
    slots = slice(2 * m, 2 * m + 2)
    row.slot_segments[slots], row.slot_given[slots] = m + 1, (False, True)
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
