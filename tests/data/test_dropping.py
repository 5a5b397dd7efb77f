import numpy as np
import pytest

from videodit.data import dropping, patches

PATCH = (4, 8, 8)


def noise(*shape):
    return np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)


def choose(frames, seed=0, drop_static=0, given=None, **kwargs):
    cells = patches.grid(*frames.shape[:3], PATCH)
    given = np.zeros(cells, bool) if given is None else given
    rng = np.random.default_rng(seed)
    kept = dropping.choose(frames, PATCH, drop_static=drop_static, given=given, rng=rng, **kwargs)
    assert kept.dtype == bool and kept.shape == (np.prod(cells),)
    return kept.reshape(cells)


@pytest.mark.parametrize("size", [(1, 24, 16), (2, 9, 9), (9, 24, 40)])
def test_exactly_as_many_tokens_stay_as_are_planned(size):
    frames = noise(*size)
    n = np.prod(patches.grid(*size, PATCH))
    for keep in {1, n // 3, n - 1, n}:
        for drop_static in (0, 2, n):
            assert choose(frames, keep=keep, drop_static=drop_static).sum() == keep


def test_no_token_and_too_many_tokens_are_refused():
    for keep in (0, 7):
        with pytest.raises(ValueError, match="of 6 tokens"):
            choose(noise(1, 16, 24), keep=keep)


def test_change_is_the_mean_difference_of_patches():
    frames = noise(13, 16, 24)
    tokens = patches.patchify(frames, PATCH).reshape(4, 2, 3, -1).astype(float)
    expected = np.abs(tokens[1:] - tokens[:-1]).mean(-1)
    np.testing.assert_allclose(dropping.change(frames, PATCH), expected)


def test_change_at_ragged_edges_is_over_the_pixels_that_exist():
    frames = np.full((3, 9, 10, 3), 50, np.uint8)
    frames[1] += 10  # of the second latent frame's two real frames one differs by 10, one by 30
    frames[2] -= 30
    np.testing.assert_allclose(dropping.change(frames, PATCH), np.full((1, 2, 2), 20.0))
    assert dropping.change(frames[:1], PATCH).shape == (0, 2, 2)


def test_what_repeats_the_previous_frame_goes_first():
    frames = noise(9, 24, 40)  # 3 latent frames of 3 x 5 cells
    still = np.zeros((3, 3, 5), bool)
    still[1, 0], still[2, 1, 1:] = True, True
    for t, h, w in np.argwhere(still):
        place = np.s_[:, 8 * h : 8 * h + 8, 8 * w : 8 * w + 8]
        before = frames[np.maximum(np.arange(4 * t - 3, 4 * t + 1) - 4, 0)][place]
        frames[4 * t - 3 : 4 * t + 1][place] = before + (before < 255)  # a little noise
    np.testing.assert_array_equal(~choose(frames, keep=36, drop_static=9), still)
    # Fewer than there are: only still ones go, others at random with the seed.
    few = [~choose(frames, seed, keep=42, drop_static=3) for seed in range(20)]
    assert all((dropped <= still).all() for dropped in few)
    # And where the plan wants more to go, the rest is drawn from all others.
    more = [~choose(frames, seed, keep=30, drop_static=9) for seed in range(40)]
    assert all((dropped >= still).all() for dropped in more)
    assert np.any(more, 0).all()


def test_ties_are_broken_at_random_and_the_first_latent_frame_stays():
    frames = np.zeros((9, 24, 40, 3), np.uint8)
    drawn = [choose(frames, seed, keep=20, drop_static=25) for seed in range(40)]
    assert all(kept[0].all() for kept in drawn)
    counts = np.sum(drawn, 0)[1:]
    assert counts.min() > 0 and counts.max() < 40
    # More are asked for than the later frames have: the first one's go at random.
    assert not choose(frames, keep=10, drop_static=45)[1:].any()


def test_random_dropping_treats_all_tokens_alike():
    drawn = np.mean([choose(noise(9, 16, 16), seed, keep=6) for seed in range(2000)], 0)
    # 12 tokens, 6 stay: the standard error of a share is 0.011.
    np.testing.assert_allclose(drawn, 0.5, atol=0.05)


def test_the_same_seed_drops_the_same():
    frames = noise(9, 16, 16)
    np.testing.assert_array_equal(choose(frames, 3, keep=5), choose(frames, 3, keep=5))


def test_a_token_to_generate_always_stays():
    frames = np.zeros((9, 16, 16, 3), np.uint8)
    given = np.ones((3, 2, 2), bool)
    given[2, 0, :] = False  # the only two to be generated, and still
    for seed in range(50):
        for drop_static in (0, 8):
            kept = choose(frames, seed, keep=3, drop_static=drop_static, given=given)
            assert kept.sum() == 3 and (kept & ~given).any()
    assert choose(frames, keep=1, given=given)[2, 0].sum() == 1
