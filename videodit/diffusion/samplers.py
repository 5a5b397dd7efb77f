"""Solvers of dx/dt = v(x, t) from noise (t = 1) to data (t = 0), and guidance.

A velocity is a callable `velocity(x, levels)`: x B L C, levels B K of the noise slots, result
B L C. Every slot runs its own schedule; given tokens keep their values to the bit.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from videodit.config import ConfigError, nearest

Velocity = Callable[[jax.Array, jax.Array], jax.Array]


def schedule(steps: int, shift: Callable):
    """Levels from 1 to 0 in `steps` steps, each mapped by `shift(level) -> B K`: steps+1 B K."""
    return jnp.stack([shift(level) for level in jnp.linspace(1.0, 0.0, steps + 1)])


def guided(conditional: Callable, unconditional: Callable, scale: float) -> Callable:
    """Classifier-free guidance (arXiv:2207.12598): u + scale (c - u)."""
    if scale == 1:
        return conditional

    def velocity(x, levels):
        u = unconditional(x, levels)
        return u + scale * (conditional(x, levels) - u)

    return velocity


def euler(velocity, x, t, t_next, expand):
    """One first-order step of every slot from levels t to t_next (B K)."""
    return x + expand(t_next - t) * velocity(x, t)


def heun(velocity, x, t, t_next, expand):
    """One second-order step: the mean of the velocities at both ends (Heun's method).

    The step to level 0 is Euler's (arXiv:2206.00364, algorithm 1): no model is trained at 0.
    """
    v, dt = velocity(x, t), expand(t_next - t)
    v_next = velocity(x + dt * v, t_next)
    return x + dt * jnp.where(expand(t_next) > 0, (v + v_next) / 2, v)


def sample(velocity, noise, given_values, given, levels, expand, solver="heun"):
    """Integrates from noise to data.

    noise, given_values: B L C; given: B L bool, the tokens to be left at given_values; levels:
    steps+1 B K, decreasing; expand: B K -> B L 1, slot values at the tokens.
    """
    if solver not in SOLVERS:
        raise ConfigError(f"unknown sample.solver={solver!r}: {nearest(solver, SOLVERS)}")
    step = SOLVERS[solver]
    keep = lambda x: jnp.where(given[..., None], given_values, x)

    def body(x, ends):
        return keep(step(lambda x, t: velocity(keep(x), t), x, *ends, expand)), None

    return jax.lax.scan(body, keep(noise), (levels[:-1], levels[1:]))[0]


SOLVERS = {"euler": euler, "heun": heun}
