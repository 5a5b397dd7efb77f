import jax
import numpy as np

from videodit.eval.linear import best_linear_velocity


def test_equals_least_squares_on_many_samples():
    rng = np.random.default_rng(0)
    root = rng.normal(size=(3, 3)).astype(np.float32)
    x0, noise = rng.normal(size=(40000, 3)) @ root, rng.normal(size=(40000, 3))
    for t in (0.1, 0.5, 0.9):
        xt, v = (1 - t) * x0 + t * noise, noise - x0
        fitted, *_ = np.linalg.lstsq(xt, v, rcond=None)
        with jax.default_matmul_precision("highest"):
            got = best_linear_velocity(
                xt[None, :50].astype(np.float32), np.full((1, 50, 1), t), root.T @ root
            )
        np.testing.assert_allclose(got[0], xt[:50] @ fitted, atol=0.1)
