import numpy as np
import pytest

from videodit.data.planning.balance import balanced_order, imbalance


def rows_of_clips(count, seed):
    """Squared lengths, summed by row, of clips of a heavy-tailed mixture."""
    rng = np.random.default_rng(seed)
    costs, row = [], []
    while len(costs) < count:
        n = min(float(np.exp(rng.normal(np.log(1500), 1.1))), 16384)
        if sum(row) + n > 16384:
            costs.append(sum(x * x for x in row))
            row = []
        row.append(n)
    return costs


def longest_processing_time(costs, hosts):
    """The heaviest host when every row goes to the host that is lightest so far (Graham, 1969)."""
    loads = [0.0] * hosts
    for cost in sorted(costs, reverse=True):
        loads[int(np.argmin(loads))] += cost
    return max(loads)


@pytest.mark.parametrize("count", [8, 12, 24, 64, 96, 256, 7, 1])
def test_every_row_comes_once_and_the_order_is_the_same_again(count):
    costs = rows_of_clips(count, seed=1)
    order = balanced_order(costs)
    assert sorted(order) == list(range(count)) and balanced_order(costs) == order


@pytest.mark.parametrize("count", [64, 128, 96, 512])
def test_shares_of_eight_rows_or_more_are_within_5_percent_of_lpt(count):
    for seed in range(20):
        costs = rows_of_clips(count, seed)
        ordered = [costs[i] for i in balanced_order(costs)]
        hosts = 2
        while count % hosts == 0 and count // hosts >= 8:
            heaviest = np.reshape(ordered, (hosts, -1)).sum(1).max()
            assert heaviest <= 1.05 * longest_processing_time(costs, hosts), (seed, hosts)
            hosts *= 2


def test_imbalance_is_heaviest_over_mean():
    assert imbalance([3, 1, 1, 1], 2) == pytest.approx(4 / 3)
    assert imbalance([2, 2], 2) == imbalance([5, 1], 1) == 1
    assert imbalance([0, 0], 2) == 1


def test_rows_of_one_cost_and_empty_batches():
    assert imbalance([7.0] * 16, 4) == 1
    assert sorted(balanced_order([7.0] * 16)) == list(range(16))
    assert balanced_order([]) == []
