import numpy as np
import pytest
import scipy.linalg
from scipy.ndimage import gaussian_filter

from videodit.eval.frechet import FIELD, Gaussian, frechet_distance, random_features


def fitted(*pieces):
    gaussian = Gaussian(pieces[0].shape[1])
    for piece in pieces:
        gaussian.add(piece)
    return gaussian


def test_moments_of_pieces_are_those_of_the_whole():
    features = np.random.default_rng(0).normal(3, 2, (50, 4))
    got = fitted(features[:20], features[20:])
    np.testing.assert_allclose(got.mean, features.mean(0))
    np.testing.assert_allclose(got.covariance, np.cov(features.T, bias=True))


def test_distance_of_two_gaussians():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(500, 5)), rng.normal(1, 2, (400, 5)) @ rng.normal(size=(5, 5))
    ca, cb = np.cov(a.T, bias=True), np.cov(b.T, bias=True)
    root = scipy.linalg.sqrtm(ca @ cb).real
    expected = np.square(a.mean(0) - b.mean(0)).sum() + np.trace(ca + cb - 2 * root)
    assert frechet_distance(fitted(a), fitted(b)) == pytest.approx(expected)
    assert frechet_distance(fitted(a), fitted(a)) == pytest.approx(0, abs=1e-9)


def test_distance_of_single_values_is_that_of_means_and_deviations():
    a, b = np.array([[1.0], [3.0]]), np.array([[4.0], [10.0]])  # 2 +- 1 and 7 +- 3
    assert frechet_distance(fitted(a), fitted(b)) == pytest.approx((7 - 2) ** 2 + (3 - 1) ** 2)


def test_random_features_see_what_is_near_and_when():
    clip = np.random.default_rng(0).integers(0, 256, (9, 39, 31, 3)).astype(np.uint8)
    features = random_features(clip)
    assert features.shape == (3 * 4 * 3, 64)  # at frames 0, 4 and 8
    np.testing.assert_array_equal(features, random_features(clip))
    other = clip.copy()
    other[8, -1, -1] = 255 - other[8, -1, -1]
    changed = (features != random_features(other)).any(1).reshape(3, 4, 3)
    assert changed[1:, -1, -1].any() and changed.sum() == changed[1:, -1, -1].sum()
    assert random_features(clip[:1]).shape == (1 * 4 * 3, 64)
    assert random_features(clip[:, : FIELD - 1]).shape == (0, 64)


def test_motion_that_is_wrong_is_seen():
    # The same frames in another order: each frame alone is as likely as before.
    rng = np.random.default_rng(0)
    texture = gaussian_filter(rng.normal(size=(64, 256, 3)), 3, axes=(0, 1), mode="wrap")
    texture = np.clip(128 + 60 * texture / texture.std(), 0, 255).astype(np.uint8)
    moving = np.stack([np.roll(texture, 2 * t, axis=1) for t in range(33)])
    clip, alike = moving[:, :, :128], moving[:, :, 128:]
    gaussians = [fitted(random_features(x)) for x in (clip, alike, clip[rng.permutation(33)])]
    same, wrong = (frechet_distance(gaussians[0], other) for other in gaussians[1:])
    assert wrong > 3 * same
