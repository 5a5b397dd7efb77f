import jax
import jax.numpy as jnp
import numpy as np
import pytest

from videodit.diffusion import flow

IDS = np.uint32([[5, 9, 2**32 - 1]])


def test_path_runs_from_data_to_noise_at_its_velocity():
    rng = np.random.default_rng(0)
    x0, noise = rng.normal(size=(2, 4)), rng.normal(size=(2, 4))
    np.testing.assert_array_equal(flow.interpolate(x0, noise, 0.0), x0)
    np.testing.assert_array_equal(flow.interpolate(x0, noise, 1.0), noise)
    step = (flow.interpolate(x0, noise, 0.5 + 1e-4) - flow.interpolate(x0, noise, 0.5)) / 1e-4
    np.testing.assert_allclose(step, flow.velocity(x0, noise), atol=1e-6)


def test_dropped_captions_are_as_many_as_asked():
    dropped = flow.dropped_captions(jax.random.key(0), np.arange(10000, dtype=np.uint32)[None], 0.1)
    assert abs(dropped.mean() - 0.1) < 0.02


def test_noise_is_standard_normal_and_belongs_to_sample_and_position():
    positions = np.stack(np.meshgrid([0, 0.25], range(20), range(30), indexing="ij"), -1)
    positions = positions.reshape(1, -1, 3).astype(np.float32)
    ones = np.ones(positions.shape[:2], np.int32)
    noise = np.asarray(flow.token_noise(jax.random.key(0), IDS, ones, positions, 16))
    assert abs(noise.mean()) < 0.03 and abs(noise.std() - 1) < 0.03
    assert len(np.unique(noise[..., 0])) == noise.shape[1]
    order = np.random.default_rng(0).permutation(noise.shape[1])
    moved = flow.token_noise(jax.random.key(0), IDS[:, ::-1], 3 * ones, positions[:, order], 16)
    np.testing.assert_array_equal(moved, noise[:, order])
    assert not np.array_equal(
        flow.token_noise(jax.random.key(0), IDS, 2 * ones, positions, 16), noise
    )


@pytest.mark.parametrize("per, expected", [("token", [1 / 4] * 4), ("clip", [1 / 2, *[1 / 6] * 3])])
def test_weights_add_up_to_one_over_tokens_or_clips(per, expected):
    mask = jnp.array([[True, True, True, False], [False, True, False, False]])
    segments = jax.nn.one_hot(jnp.array([[0, 1, 1, 1], [1, 1, -1, -1]]), 2)
    weights = flow.token_weights(mask, segments, per)
    if per == "clip":  # three clips have a wanted token: 1, 2 and 1 of them
        expected = [1 / 3, 1 / 6, 1 / 6, 1 / 3]
    np.testing.assert_allclose(weights[mask], expected, rtol=1e-6)
    assert weights.sum() == pytest.approx(1) and (weights[~mask] == 0).all()


@pytest.mark.parametrize("t", [0.1, 0.5, 0.9])
def test_linear_velocity_is_least_squares(t):
    rng = np.random.default_rng(0)
    root = rng.normal(size=(3, 3))
    x0, noise = rng.normal(size=(40000, 3)) @ root, rng.normal(size=(40000, 3))
    xt, v = np.asarray(flow.interpolate(x0, noise, t)), np.asarray(flow.velocity(x0, noise))
    fitted, *_ = np.linalg.lstsq(xt, v, rcond=None)
    variances, vectors = np.linalg.eigh(root.T @ root)
    got = flow.linear_velocity(xt[None, :50], np.full((1, 50, 1), t), variances, vectors)
    np.testing.assert_allclose(got[0], xt[:50] @ fitted, atol=0.1)
