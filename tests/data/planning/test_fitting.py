import itertools

import numpy as np
import pytest

from videodit.data.planning.fitting import fit_decreasing

CAPACITY = dict(row_tokens=16, text_tokens=10, max_segments=4)


def check_rows(packed, lengths, texts):
    for row in packed:
        assert sum(lengths[i] for i in row) <= CAPACITY["row_tokens"]
        assert sum(texts[i] for i in row) <= CAPACITY["text_tokens"]
        assert len(row) <= CAPACITY["max_segments"]
    placed = sorted(itertools.chain.from_iterable(packed))
    assert len(set(placed)) == len(placed)
    return placed


def optimum(lengths, texts):
    """The fewest rows, by trying every assignment."""

    def place(i, rows):
        if i == len(lengths):
            return len(rows)
        best = len(lengths) + 1
        for at, (length, text, count) in enumerate(rows):
            grown = (length + lengths[i], text + texts[i], count + 1)
            if all(x <= limit for x, limit in zip(grown, CAPACITY.values())):
                best = min(best, place(i + 1, [*rows[:at], grown, *rows[at + 1 :]]))
        return min(best, place(i + 1, [*rows, (lengths[i], texts[i], 1)]))

    return place(0, [])


def test_rows_against_the_optimum_on_small_cases():
    more = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        lengths, texts = rng.integers(1, 17, 7).tolist(), rng.integers(1, 5, 7).tolist()
        packed = fit_decreasing(lengths, texts, **CAPACITY)
        assert check_rows(packed, lengths, texts) == list(range(7))
        more.append(len(packed) - optimum(lengths, texts))
    assert min(more) == 0 and max(more) <= 1 and np.mean(more) < 0.1


@pytest.mark.parametrize("seed", range(3))
def test_a_long_list_is_nearly_as_short_as_its_lower_bound(seed):
    rng = np.random.default_rng(seed)
    lengths, texts = rng.integers(1, 13, 500).tolist(), rng.integers(1, 3, 500).tolist()
    packed = fit_decreasing(lengths, texts, **CAPACITY)
    assert check_rows(packed, lengths, texts) == list(range(500))
    bound = max(sum(lengths) / 16, sum(texts) / 10, 500 / 4)
    assert len(packed) <= 1.02 * bound + 1


def test_given_rows_are_all_returned_and_hold_what_fits():
    lengths, texts = [10, 9, 8, 8, 7, 6, 3], [1] * 7
    packed = fit_decreasing(lengths, texts, **CAPACITY, rows=2)
    assert len(packed) == 2
    placed = check_rows(packed, lengths, texts)
    assert sum(lengths[i] for i in placed) == 32  # two full rows: 10 + 6 and 9 + 7, or 8 + 8
    assert len(fit_decreasing([5], [1], **CAPACITY, rows=3)) == 3
    assert fit_decreasing([], [], **CAPACITY, rows=1) == [[]]


def test_short_clips_are_spread_so_that_none_stays_out():
    # Two rows: the long clips alone fill one by best fit, eight short ones need both.
    lengths, texts = [6, 6, 3, 3, 3, 3, 2, 2], [1] * 8
    packed = fit_decreasing(lengths, texts, **CAPACITY, rows=2)
    assert check_rows(packed, lengths, texts) == list(range(8))


def test_clips_that_only_fit_tightly_are_found_without_spreading():
    lengths, texts = [8, 8, 6, 5, 5], [1] * 5  # 8 + 8 and 6 + 5 + 5
    packed = fit_decreasing(lengths, texts, **CAPACITY, rows=2)
    assert check_rows(packed, lengths, texts) == list(range(5))


def test_no_row_is_empty_while_another_has_several_clips():
    assert fit_decreasing([10, 2], [0, 0], **CAPACITY, rows=2) == [[0], [1]]
    assert fit_decreasing([10, 2], [0, 0], **CAPACITY, rows=3) == [[0], [1], []]


def test_captions_limit_a_row():
    packed = fit_decreasing([1] * 4, [5, 5, 5, 5], **CAPACITY)
    assert sorted(map(len, packed)) == [2, 2]


@pytest.mark.parametrize("length, text", [(17, 1), (1, 11)])
def test_a_clip_that_fits_into_no_row_is_refused(length, text):
    with pytest.raises(ValueError, match=rf"\({length}, {text}\)"):
        fit_decreasing([length], [text], **CAPACITY)
