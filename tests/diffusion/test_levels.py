import jax
import numpy as np
import pytest

from videodit.config import FlowConfig
from videodit.diffusion import levels


def test_shift_matches_the_signal_to_noise_ratio_of_averaged_tokens():
    # Averaging n / n0 equal tokens divides the noise's deviation by sqrt(n / n0): a level of the
    # longer clip is as noisy as t of the shorter one if t'/(1-t') = sqrt(n / n0) t/(1-t).
    t = np.linspace(0.05, 0.95, 7)
    shifted = levels.shift(t, 1024.0, 256)
    np.testing.assert_allclose(shifted / (1 - shifted), 2 * t / (1 - t), rtol=1e-5)
    np.testing.assert_allclose(levels.shift(np.float32([0, 1]), 999.0, 256), [0, 1])


def test_levels_are_logit_normal():
    ids = np.arange(20000, dtype=np.uint32)[None]
    cfg = FlowConfig(logit_mean=0.5, logit_std=2.0, shift_tokens=64)
    drawn = np.asarray(levels.clip_levels(jax.random.key(0), ids, np.full(ids.shape, 64.0), cfg))
    logits = np.log(drawn / (1 - drawn))
    assert abs(logits.mean() - 0.5) < 0.05 and abs(logits.std() - 2.0) < 0.05


def test_levels_depend_on_the_sample_and_the_key_alone():
    ids, key = np.uint32([[5, 9, 2**32 - 1]]), jax.random.key(0)
    cfg = FlowConfig(fine_share=0.5)
    draw = lambda key, ids: np.asarray(levels.clip_levels(key, ids, np.full((1, 3), 100.0), cfg))
    drawn = draw(key, ids)
    assert len(np.unique(drawn)) == 3
    np.testing.assert_array_equal(draw(key, ids[:, ::-1]), drawn[:, ::-1])
    assert not np.intersect1d(drawn, draw(jax.random.key(1), ids)).size


def test_a_share_of_the_clips_has_the_levels_of_another_shift():
    ids = np.arange(20000, dtype=np.uint32)[None]
    tokens = np.full(ids.shape, 64.0)
    cfg = FlowConfig(logit_std=0.01, shift_tokens=4, fine_share=0.3, fine_shift_tokens=64)
    drawn = np.asarray(levels.clip_levels(jax.random.key(0), ids, tokens, cfg))
    fine = drawn < 0.65  # without a shift all are near 1/2; with that to 4 tokens near 4/5
    assert abs(fine.mean() - 0.3) < 0.01
    np.testing.assert_allclose([drawn[fine].mean(), drawn[~fine].mean()], [0.5, 0.8], atol=1e-3)


@pytest.mark.parametrize("share", [0.0, 0.25])
def test_a_sampler_steps_through_the_quantiles_of_the_trained_mixture(share):
    cfg = FlowConfig(shift_tokens=4, fine_share=share, fine_shift_tokens=64)
    uniform = np.linspace(0, 1, 100_001)
    coarse, fine = (np.asarray(levels.shift(uniform, 100.0, n)) for n in (4, 64))
    weights = np.repeat([1 - share, share], len(uniform))
    values = np.concatenate([coarse, fine])
    order = np.argsort(values)
    below = np.cumsum(weights[order]) / weights.sum()
    for part in (0.03, 0.5, 0.9):
        got = levels.sampling_level(np.float32(part), np.full((1, 2), 100.0), cfg)
        expected = values[order][np.searchsorted(below, part)]
        np.testing.assert_allclose(got, np.full((1, 2), expected), atol=1e-4)
    ends = [float(levels.sampling_level(np.float32(end), 100.0, cfg)) for end in (0, 1)]
    assert ends == [0, 1]
