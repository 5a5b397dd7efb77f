"""The order of a batch's rows, in which equal shares of 2, 4, 8, ... hosts cost about the same."""

import heapq
from collections.abc import Sequence

GROUP = 8  # rows: shares of at least this many are balanced as well as scheduling allows


def balanced_order(costs: Sequence[float]) -> list[int]:
    """Indices of rows in an order whose 2, 4, 8, ... equal contiguous parts cost about the same.

    Rows are scheduled longest processing time first (Graham, 1969) into groups of GROUP; groups of
    equal size are then joined, heaviest with lightest. A group is halved by the largest
    differencing method for equal counts (Yakir, 1996).
    """
    groups = _schedule(costs, _group_size(len(costs)))
    parts = [(sum(costs[i] for i in group), _halve(group, costs)) for group in groups]
    while len(parts) > 1:
        parts.sort()
        half = len(parts) // 2
        joined = zip(parts[:half], parts[: -half - 1 : -1])
        parts = [(a + b, heavy + light) for (a, light), (b, heavy) in joined]
    return parts[0][1] if parts else []


def imbalance(costs: Sequence[float], shares: int) -> float:
    """Cost of the heaviest of `shares` equal contiguous parts over the mean cost; 1 is perfect."""
    size = len(costs) // shares
    sums = [sum(costs[start : start + size]) for start in range(0, len(costs), size)]
    return max(sums) * shares / sum(sums) if sum(sums) else 1.0


def _group_size(rows: int) -> int:
    """The odd part of the number of rows times a power of two, up to about GROUP."""
    power = rows & -rows  # the largest power of two that divides it
    size = rows // power if power else 1
    while size < GROUP and size < rows:
        size *= 2
    return size


def _schedule(costs: Sequence[float], size: int) -> list[list[int]]:
    """Groups of exactly `size` rows: each row goes to the lightest group that is not full."""
    groups: list[list[int]] = [[] for _ in range(len(costs) // size)]
    open_groups = [(0.0, number) for number in range(len(groups))]
    for i in sorted(range(len(costs)), key=costs.__getitem__, reverse=True):
        load, number = heapq.heappop(open_groups)
        groups[number].append(i)
        if len(groups[number]) < size:
            heapq.heappush(open_groups, (load + costs[i], number))
    return groups


def _halve(rows: list[int], costs: Sequence[float]) -> list[int]:
    """The rows in an order of equal halves, quarters and so on, as long as they can be halved."""
    if len(rows) % 2:
        return rows
    rows = sorted(rows, key=costs.__getitem__, reverse=True)
    # A pair lies on opposite sides; of all pairs, the one that differs most corrects the next.
    pairs = [
        (costs[b] - costs[a], n, [a], [b]) for n, (a, b) in enumerate(zip(rows[::2], rows[1::2]))
    ]
    heapq.heapify(pairs)
    while len(pairs) > 1:
        first, n, heavy, light = heapq.heappop(pairs)
        second, _, heavier, lighter = heapq.heappop(pairs)
        heapq.heappush(pairs, (first - second, n, heavy + lighter, light + heavier))
    _, _, heavy, light = pairs[0]
    return _halve(heavy, costs) + _halve(light, costs)
