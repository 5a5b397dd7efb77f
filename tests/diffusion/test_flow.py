import jax
import jax.numpy as jnp
import numpy as np
import pytest

from videodit.config import FlowConfig
from videodit.diffusion import flow

IDS = np.uint32([[5, 9, 2**32 - 1]])


def test_path_runs_from_data_to_noise_at_its_velocity():
    rng = np.random.default_rng(0)
    x0, noise = rng.normal(size=(2, 4)), rng.normal(size=(2, 4))
    np.testing.assert_array_equal(flow.interpolate(x0, noise, 0.0), x0)
    np.testing.assert_array_equal(flow.interpolate(x0, noise, 1.0), noise)
    step = (flow.interpolate(x0, noise, 0.5 + 1e-4) - flow.interpolate(x0, noise, 0.5)) / 1e-4
    np.testing.assert_allclose(step, flow.velocity(x0, noise), atol=1e-6)


def test_shift_matches_the_signal_to_noise_ratio_of_averaged_tokens():
    # Averaging n / n0 equal tokens divides the noise's deviation by sqrt(n / n0): a level of the
    # longer clip is as noisy as t of the shorter one if t'/(1-t') = sqrt(n / n0) t/(1-t).
    t = np.linspace(0.05, 0.95, 7)
    shifted = flow.shift(t, 1024.0, 256)
    np.testing.assert_allclose(shifted / (1 - shifted), 2 * t / (1 - t), rtol=1e-5)
    np.testing.assert_allclose(flow.shift(np.float32([0, 1]), 999.0, 256), [0, 1])


def test_levels_are_logit_normal():
    ids = np.arange(20000, dtype=np.uint32)[None]
    cfg = FlowConfig(logit_mean=0.5, logit_std=2.0, shift_tokens=64)
    levels = np.asarray(flow.clip_levels(jax.random.key(0), ids, np.full(ids.shape, 64.0), cfg))
    logits = np.log(levels / (1 - levels))
    assert abs(logits.mean() - 0.5) < 0.05 and abs(logits.std() - 2.0) < 0.05


def test_levels_and_captions_depend_on_the_sample_and_the_key_alone():
    cfg, key = FlowConfig(), jax.random.key(0)
    levels = flow.clip_levels(key, IDS, np.full((1, 3), 100.0), cfg)
    assert len(np.unique(levels)) == 3
    turned = flow.clip_levels(key, IDS[:, ::-1], np.full((1, 3), 100.0), cfg)
    np.testing.assert_array_equal(turned, levels[:, ::-1])
    other = flow.clip_levels(jax.random.key(1), IDS, np.full((1, 3), 100.0), cfg)
    assert not np.intersect1d(levels, other).size
    dropped = flow.dropped_captions(key, np.arange(10000, dtype=np.uint32)[None], 0.1)
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
def test_linear_velocity_is_least_squares_on_white_data(t):
    x0, noise = np.random.default_rng(0).normal(size=(2, 100000))
    xt = flow.interpolate(x0, noise, t)
    slope = (xt @ flow.velocity(x0, noise)) / (xt @ xt)
    np.testing.assert_allclose(flow.linear_velocity(1.0, t), slope, atol=0.02)
