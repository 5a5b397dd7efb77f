import jax
import jax.numpy as jnp
import numpy as np
import pytest

from videodit import config
from videodit.config import ConfigError
from videodit.diffusion import samplers

MEAN, DEVIATION = 0.7, 0.4


def gaussian_velocity(x, t):
    """E[e - x_0 | x_t] for x_0 ~ N(MEAN, DEVIATION^2), in closed form; t: B K = B L here."""
    t = t[..., None]
    variance = (1 - t) ** 2 * DEVIATION**2 + t**2
    score_part = (x - (1 - t) * MEAN) / variance
    return (t - (1 - t) * DEVIATION**2) * score_part - MEAN


def solve(solver, steps, noise, given=None):
    given = jnp.zeros(noise.shape[:2], bool) if given is None else given
    levels = samplers.schedule(steps, lambda t: jnp.full(noise.shape[:2], t))
    return samplers.sample(
        gaussian_velocity,
        noise,
        jnp.full_like(noise, 0.123),
        given,
        levels,
        lambda t: t[..., None],
        solver,
    )


def test_noise_becomes_the_gaussian_at_the_order_of_each_solver():
    # The flow of a Gaussian maps quantiles to quantiles: x_0 = MEAN + DEVIATION x_1.
    noise = jax.random.normal(jax.random.key(0), (2, 50, 3))
    exact = MEAN + DEVIATION * noise
    error = {
        (solver, steps): float(jnp.abs(solve(solver, steps, noise) - exact).max())
        for solver in samplers.SOLVERS
        for steps in (32, 64)
    }
    assert error["euler", 64] < 0.05 and error["heun", 64] < 0.003
    assert 1.7 < error["euler", 32] / error["euler", 64] < 2.4  # first order
    assert 3.2 < error["heun", 32] / error["heun", 64] < 5.0  # second order


@pytest.mark.parametrize("solver", list(samplers.SOLVERS))
def test_given_tokens_come_out_unchanged_to_the_bit(solver):
    noise = jax.random.normal(jax.random.key(0), (2, 10, 3))
    given = jnp.arange(10)[None] % 3 == jnp.zeros((2, 1), int)
    x = solve(solver, 5, noise, given)
    assert (x[given] == jnp.float32(0.123)).all() and (x[~given] != jnp.float32(0.123)).all()


def test_guidance_is_linear_in_the_scale():
    conditional, unconditional = lambda x, t: x + t, lambda x, t: 2 * x
    x, t = jnp.array([1.0, 2.0]), jnp.array([0.5, 0.25])
    at = lambda scale: samplers.guided(conditional, unconditional, scale)(x, t)
    np.testing.assert_allclose(at(1.0), conditional(x, t))
    np.testing.assert_allclose(at(0.0), unconditional(x, t))
    np.testing.assert_allclose(at(3.0), 3 * at(1.0) - 2 * at(0.0), rtol=1e-6)


def test_an_unknown_solver_is_named():
    with pytest.raises(ConfigError, match="did you mean 'heun'"):
        solve("huen", 2, jnp.zeros((1, 1, 1)))


def test_configs_know_every_solver():
    assert tuple(samplers.SOLVERS) == config.SOLVERS
