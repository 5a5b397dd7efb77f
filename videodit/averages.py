"""Averages of the weights whose length is chosen after training (Karras et al., arXiv:2312.02696).

A power average weighs the weights of step s by s^gamma:

  (1)  average_t = beta_t average_(t-1) + (1 - beta_t) weights_t,  beta_t = (1 - 1/t)^(gamma + 1)

Its length is the std of those steps divided by t (the paper's sigma_rel; 0.1 is about the last
fifth of a run). A run keeps two such averages and saves both at some moments. The profile of any
other length is then approximated by a sum of the saved ones, with the weights of least squares.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax

from videodit.parameters import Params

Values = np.ndarray | np.float64 | float
Saved = tuple[int, float]  # the step of a saved average, and its length
LONGEST = 12**-0.5  # length of the plain mean over all steps: gamma = 0


def exponent(length: float) -> float:
    """The gamma of a power average with this length, above 0 and at most LONGEST.

    It solves length^2 = (gamma + 1) / ((gamma + 2)^2 (gamma + 3)).
    """
    inverse = length**-2
    roots = np.roots([1, 7, 16 - inverse, 12 - inverse])
    return max(float(roots[np.abs(roots.imag) < 1e-6].real.max()), 0.0)


def power_averages(
    averages: dict[str, Params], weights: Params, step: jax.Array, lengths: Sequence[float]
) -> dict[str, Params]:
    """Equation (1) for the averages of these lengths, which are named "0", "1", ...

    step: int32 scalar, t - 1. After the first step every average is the weights.
    """
    # 1 - beta, whose digits 1 - 1/t would lose.
    log = jnp.log1p(-1 / (1 + step.astype(jnp.float32)))
    return {
        name: optax.incremental_update(weights, old, -jnp.expm1((exponent(length) + 1) * log))
        for (name, old), length in zip(averages.items(), lengths)
    }


def moments(steps: int, count: int) -> set[int]:
    """The steps at which a run of `steps` steps saves its averages: `count` ones, the last too."""
    return {round(steps * (i + 1) / count) for i in range(count)} - {0}


def mixture(saved: Sequence[Saved], step: int, length: float) -> np.ndarray:
    """The factors of the saved averages whose sum is nearest to the one at `step` of `length`.

    Nearest in the squared distance of their profiles over steps (the paper's algorithm 3).
    """
    steps = np.array([s for s, _ in saved], np.float64)
    gammas = np.array([exponent(known) for _, known in saved])
    products = _product(steps[:, None], gammas[:, None], steps[None], gammas[None])
    with_wanted = _product(steps, gammas, np.float64(step), exponent(length))
    return np.linalg.lstsq(products, with_wanted, rcond=1e-12)[0]


def _product(
    step_a: np.ndarray, gamma_a: np.ndarray, step_b: Values, gamma_b: Values
) -> np.ndarray:
    """The integral of the product of two profiles (gamma + 1) s^gamma / t^(gamma + 1), s <= t."""
    ratio = step_a / step_b
    power = ratio ** np.where(step_a < step_b, gamma_b, -gamma_a)
    both = (gamma_a + 1) * (gamma_b + 1) * power
    return both / ((gamma_a + gamma_b + 1) * np.maximum(step_a, step_b))
