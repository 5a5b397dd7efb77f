"""Fits clips into rows: bin packing under three capacities, in plain Python lists."""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Sequence
from heapq import heappop, heapreplace
from itertools import accumulate
from typing import TypedDict

SPREADS = (0.95, 0.8, 0.5, 0.0)  # shares of the tokens that are spread, tried in this order
# No further spread is tried once this share of the clips has a place. With many clips another
# spread takes time and changes little, unless max_segments binds, which keeps more clips out.
ENOUGH, ENOUGH_OF_MANY, MANY = 0.998, 0.99, 2000
PROBES = 64  # rows that are asked whether they have room for a clip's text

Sizes = tuple[int, int, int]  # vision tokens, text tokens and clips that a row holds
Rows = list[list[int]]  # indices of clips


class Capacity(TypedDict):
    """What a row holds at most, by the names of the config and of `fit_decreasing`'s arguments."""

    row_tokens: int
    text_tokens: int
    max_segments: int


def fit_decreasing(
    lengths: Sequence[int],
    text_lengths: Sequence[int],
    *,
    row_tokens: int,
    text_tokens: int,
    max_segments: int,
    rows: int | None = None,
) -> Rows:
    """Rows of indices of clips: `rows` rows with as many clips as fit, or all clips if it is None.

    Clips are taken longest first. Until a share of all tokens is placed, each clip goes to the
    emptiest row (worst fit); every later clip goes to the fullest row that has room (best fit).
    This spreads the short clips over all rows. Best fit alone would heap them into the last rows,
    where max_segments keeps up to a sixth of all clips out. If clips find no place, a smaller share
    is spread. No row stays empty while another has several clips, because a step may have only
    one row.

    `lengths` and `text_lengths` are the tokens of each clip and of its caption. Raises ValueError
    for a clip that is too long for an empty row.
    """
    capacity = (row_tokens, text_tokens, max_segments)
    longest = (max(lengths, default=0), max(text_lengths, default=0))
    if longest[0] > row_tokens or longest[1] > text_tokens:
        raise ValueError(f"clips of up to {longest} tokens do not fit into rows of {capacity[:2]}")
    if rows is not None:
        return _fit(lengths, text_lengths, capacity, rows)
    totals = (sum(lengths), sum(text_lengths), len(lengths))
    rows = max(-(-total // size) for total, size in zip(totals, capacity))
    while _count(packed := _fit(lengths, text_lengths, capacity, rows)) < len(lengths):
        rows += 1 + rows // 500
    return packed


def _fit(lengths: Sequence[int], text_lengths: Sequence[int], capacity: Sizes, rows: int) -> Rows:
    order = sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True)
    best: Rows = []
    most = -1
    enough = ENOUGH if len(lengths) < MANY else ENOUGH_OF_MANY
    for spread in SPREADS:
        packed = _fit_in_order(order, lengths, text_lengths, capacity, rows, spread)
        if (placed := _count(packed)) > most:
            best, most = packed, placed
        if most >= enough * len(lengths):
            break
    _share_out(best)
    return best


def _fit_in_order(
    order: list[int],
    lengths: Sequence[int],
    text_lengths: Sequence[int],
    capacity: Sizes,
    rows: int,
    spread: float,
) -> Rows:
    packed: Rows = [[] for _ in range(rows)]
    used = [(0, 0)] * rows
    share = spread * sum(lengths)
    spread_clips = bisect_right(list(accumulate(map(lengths.__getitem__, order))), share)
    late = _spread(order[:spread_clips], lengths, text_lengths, capacity, packed, used)
    _fill(late + order[spread_clips:], lengths, text_lengths, capacity, packed, used)
    return packed


def _spread(
    clips: Sequence[int],
    lengths: Sequence[int],
    text_lengths: Sequence[int],
    capacity: Sizes,
    packed: Rows,
    used: list[tuple[int, int]],
) -> list[int]:
    """Puts each clip into the emptiest row; returns the clips that did not fit there.

    A row without room for a clip's text or for another segment is passed over from then on.
    Updates `packed` and `used` (tokens, text tokens) of the rows.
    """
    row_tokens, text_tokens, max_segments = capacity
    rows, text_room = len(packed), [text_tokens] * len(packed)
    by_use, late = list(range(rows)), []  # a heap of used tokens * rows + row
    for i in clips:
        length, text = lengths[i], text_lengths[i]
        while by_use:
            use, row = divmod(by_use[0], rows)
            if use + length > row_tokens:
                late.append(i)
                break
            if text_room[row] >= text and len(packed[row]) < max_segments:
                heapreplace(by_use, by_use[0] + length * rows)
                packed[row].append(i)
                text_room[row] -= text
                used[row] = use + length, text_tokens - text_room[row]
                break
            heappop(by_use)
        else:
            late.append(i)
    return late


def _fill(
    clips: Sequence[int],
    lengths: Sequence[int],
    text_lengths: Sequence[int],
    capacity: Sizes,
    packed: Rows,
    used: list[tuple[int, int]],
) -> None:
    """Puts each clip into the fullest row with room; leaves out what fits into none of PROBES."""
    row_tokens, text_tokens, max_segments = capacity
    rows, text_room = len(packed), [text_tokens - text for _, text in used]
    least = min(map(lengths.__getitem__, clips), default=0)
    least_text = min(map(text_lengths.__getitem__, clips), default=0)
    # Rows that can take more, by room: room * rows + row, one sorted list for bisect.
    by_room = sorted(
        (row_tokens - tokens) * rows + row
        for row, (tokens, _) in enumerate(used)
        if text_room[row] >= least_text and len(packed[row]) < max_segments
    )
    least *= rows
    for i in clips:
        need, text = lengths[i] * rows, text_lengths[i]
        first = bisect_left(by_room, need)
        for at in range(first, min(first + PROBES, len(by_room))):
            row = by_room[at] % rows
            if text_room[row] < text:
                continue
            room = by_room.pop(at) - need
            packed[row].append(i)
            text_room[row] -= text
            enough_text = text_room[row] >= least_text
            if room >= least and enough_text and len(packed[row]) < max_segments:
                insort(by_room, room)
            break


def _share_out(packed: Rows) -> None:
    """Gives each empty row the shortest clip of the row with most clips, if that has several."""
    for row in packed:
        if not row:
            most = max(packed, key=len)
            if len(most) < 2:
                return
            row.append(most.pop())


def _count(packed: Rows) -> int:
    return sum(map(len, packed))
