"""How clips are fitted into rows: bin packing under three capacities, in plain Python lists."""

from bisect import bisect_left, insort
from collections.abc import Sequence

SPREADS = (0.95, 0.8, 0.5, 0.0)  # shares of the tokens that are spread, tried in this order


def fit_decreasing(
    lengths: Sequence[int],
    text_lengths: Sequence[int],
    *,
    row_tokens: int,
    text_tokens: int,
    max_segments: int,
    rows: int | None = None,
) -> list[list[int]]:
    """Rows of indices of clips: `rows` rows with as many clips as fit, or every clip if None.

    Clips are taken longest first. Each goes to the emptiest row until a share of all tokens is
    placed (worst fit), the rest to the fullest row that takes them (best fit). Spread like this,
    every row gets its part of the short clips; best fit alone heaps them into the last rows, where
    max_segments keeps up to a sixth of all clips out. If clips stay out, less is spread.

    Raises ValueError for a clip that is too long for an empty row.
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


def _fit(lengths, text_lengths, capacity, rows: int) -> list[list[int]]:
    order = sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True)
    tries = []
    for spread in SPREADS:
        tries.append(_fit_in_order(order, lengths, text_lengths, capacity, rows, spread))
        if _count(tries[-1]) == len(lengths):
            break
    return max(tries, key=_count)


def _fit_in_order(order, lengths, text_lengths, capacity, rows, spread) -> list[list[int]]:
    row_tokens, text_tokens, max_segments = capacity
    packed = [[] for _ in range(rows)]
    text_room = [text_tokens] * rows
    # Rows that can take more, by room: room * rows + row, one sorted list for bisect.
    open_rows = [row_tokens * rows + row for row in range(rows)]
    least, least_text = min(lengths, default=0), min(text_lengths, default=0)
    to_spread = spread * sum(lengths)
    for i in order:
        length, text = lengths[i], text_lengths[i]
        candidates = range(bisect_left(open_rows, length * rows), len(open_rows))
        for at in reversed(candidates) if to_spread > 0 else candidates:
            if text_room[open_rows[at] % rows] >= text:
                break
        else:
            continue
        to_spread -= length
        room, row = divmod(open_rows.pop(at) - length * rows, rows)
        packed[row].append(i)
        text_room[row] -= text
        if room >= least and text_room[row] >= least_text and len(packed[row]) < max_segments:
            insort(open_rows, room * rows + row)
    return packed


def _count(packed: list[list[int]]) -> int:
    return sum(map(len, packed))
