"""Solvers of dx/dt = v(x, t) from noise (t = 1) to data (t = 0), and guidance.

A velocity is a callable `velocity(x, levels)`: x B L C, levels B K of the noise slots, result
B L C. Every slot runs its own schedule; given tokens keep their values to the bit.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from videodit.config import ConfigError, nearest

Velocity = Callable[[jax.Array, jax.Array], jax.Array]
Expand = Callable[[jax.Array], jax.Array]  # values of noise slots B K to those of tokens B L 1
Step = Callable[[Velocity, jax.Array, jax.Array, jax.Array, Expand], jax.Array]


def schedule(steps: int, levels: Callable[[jax.Array], jax.Array]) -> jax.Array:
    """Levels from 1 to 0 in `steps` steps: steps+1 B K.

    `levels` gives those of the noise slots (B K) at a share of the way, 1 at the start.
    """
    return jnp.stack([levels(share) for share in jnp.linspace(1.0, 0.0, steps + 1)])


def guided(conditional: Velocity, unconditional: Velocity, scale: float) -> Velocity:
    """Classifier-free guidance (arXiv:2207.12598): u + scale (c - u)."""
    if scale == 1:
        return conditional

    def velocity(x: jax.Array, levels: jax.Array) -> jax.Array:
        u = unconditional(x, levels)
        return u + scale * (conditional(x, levels) - u)

    return velocity


def euler(
    velocity: Velocity, x: jax.Array, t: jax.Array, t_next: jax.Array, expand: Expand
) -> jax.Array:
    """One first-order step of every slot from levels t to t_next (B K)."""
    return x + expand(t_next - t) * velocity(x, t)


def heun(
    velocity: Velocity, x: jax.Array, t: jax.Array, t_next: jax.Array, expand: Expand
) -> jax.Array:
    """One second-order step: the mean of the velocities at both ends (Heun's method).

    The step to level 0 is Euler's (arXiv:2206.00364, algorithm 1): no model is trained at 0.
    """
    v, dt = velocity(x, t), expand(t_next - t)
    v_next = velocity(x + dt * v, t_next)
    return x + dt * jnp.where(expand(t_next) > 0, (v + v_next) / 2, v)


def sample(
    velocity: Velocity,
    noise: jax.Array,
    given_values: jax.Array,
    given: jax.Array,
    levels: jax.Array,
    expand: Expand,
    solver: str = "heun",
) -> jax.Array:
    """Integrates from noise to data: B L C.

    noise, given_values: B L C; given: B L bool, the tokens that keep given_values; levels:
    steps+1 B K, decreasing. Raises ConfigError for an unknown solver.
    """
    if solver not in SOLVERS:
        raise ConfigError(f"unknown sample.solver={solver!r}: {nearest(solver, SOLVERS)}")
    step = SOLVERS[solver]
    keep = lambda x: jnp.where(given[..., None], given_values, x)

    def body(x: jax.Array, ends: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        return keep(step(lambda x, t: velocity(keep(x), t), x, *ends, expand)), None

    return jax.lax.scan(body, keep(noise), (levels[:-1], levels[1:]))[0]


SOLVERS: dict[str, Step] = {"euler": euler, "heun": heun}
