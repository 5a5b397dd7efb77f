import numpy as np
import pytest
from scipy import stats

from videodit.data.planning.hashing import permute, uniform


@pytest.mark.parametrize("size", [1, 2, 5, 64, 1000, 4097])
def test_permute_is_a_permutation_for_every_key(size):
    index = np.arange(size)
    images = [
        permute(index, np.full(size, size), np.full(size, key, np.uint64), size) for key in (0, 7)
    ]
    for image in images:
        np.testing.assert_array_equal(np.sort(image), index)
    if size >= 64:
        assert (images[0] != images[1]).mean() > 0.9
        assert abs(stats.spearmanr(images[0], index).statistic) < 4 / np.sqrt(size)


def test_permute_takes_sizes_and_keys_apart():
    size, key = np.array([3, 1000, 3, 3]), np.array([5, 6, 5, 5], np.uint64)
    together = permute(np.array([0, 999, 1, 2]), size, key, 1000)
    assert sorted(together[[0, 2, 3]]) == [0, 1, 2] and together[1] < 1000


def test_uniform_is_uniform_and_names_are_independent():
    a, b = (uniform(3, np.arange(20_000), name) for name in ("a", "b"))
    for values in (a, b):
        assert stats.kstest(values, "uniform").pvalue > 1e-4
    assert abs(stats.pearsonr(a, b).statistic) < 0.03
