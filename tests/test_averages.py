import jax.numpy as jnp
import numpy as np
import pytest

from videodit.averages import LONGEST, exponent, mixture, moments, power_averages

STEPS = 400
# A walk, and its mean weighted by s^gamma, straight from the definition.
WALK = np.random.default_rng(0).normal(size=(STEPS, 3)).cumsum(0)


def average_of(step, length):
    """The weighted mean of the first steps, by equation (1) unrolled in float64."""
    total = np.zeros(3)
    for t in range(1, step + 1):
        keep = (1 - 1 / t) ** (exponent(length) + 1)
        total = keep * total + (1 - keep) * WALK[t - 1]
    return total


@pytest.mark.parametrize("length", [0.03, 0.1, 0.25])
def test_the_length_is_the_std_of_the_averaged_steps(length):
    s, gamma = (np.arange(100_000) + 0.5) / 100_000, exponent(length)
    weights = s**gamma / (s**gamma).sum()
    mean = (weights * s).sum()
    assert np.sqrt((weights * (s - mean) ** 2).sum()) == pytest.approx(length, rel=1e-3)


def test_known_exponents():
    # Table in section 3.1 of the paper: gamma = 6.94 and 16.97 for lengths of 0.10 and 0.05.
    assert exponent(0.10) == pytest.approx(6.94, abs=0.01)
    assert exponent(0.05) == pytest.approx(16.97, abs=0.01)
    assert exponent(LONGEST) == pytest.approx(0, abs=1e-6)


def test_averages_follow_their_definition():
    lengths, averages = (0.05, 0.2), {"0": {"w": jnp.zeros(3)}, "1": {"w": jnp.zeros(3)}}
    for step in range(STEPS):
        weights = {"w": jnp.asarray(WALK[step], jnp.float32)}
        averages = power_averages(averages, weights, jnp.int32(step), lengths)
    for name, length in zip(averages, lengths):
        np.testing.assert_allclose(averages[name]["w"], average_of(STEPS, length), rtol=1e-4)


def test_a_late_step_still_moves_an_average():
    old, new = {"0": {"w": jnp.zeros(1)}}, {"w": jnp.ones(1)}
    moved = power_averages(old, new, jnp.int32(10_000_000 - 1), (LONGEST,))["0"]["w"]
    np.testing.assert_allclose(moved, 1e-7, rtol=1e-3)  # 1 / t for the plain mean


@pytest.mark.parametrize("length", [0.06, 0.08, 0.15])
def test_an_average_of_another_length_is_a_mixture_of_the_saved_ones(length):
    saved = [(step, known) for step in sorted(moments(STEPS, 16)) for known in (0.05, 0.1)]
    kept = np.stack([average_of(*pair) for pair in saved])
    made, wanted = mixture(saved, STEPS, length) @ kept, average_of(STEPS, length)
    apart = np.abs(average_of(STEPS, 0.05) - wanted).max()
    assert np.abs(made - wanted).max() < 0.1 * apart


def test_a_saved_average_is_itself():
    saved = [(step, known) for step in (100, 200) for known in (0.05, 0.1)]
    np.testing.assert_allclose(mixture(saved, 200, 0.1), [0, 0, 0, 1], atol=1e-6)


def test_moments_end_with_the_run():
    assert moments(10, 4) == {2, 5, 8, 10} and moments(2, 16) == {1, 2}
