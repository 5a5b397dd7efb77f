import numpy as np
import pytest

from videodit.config import ConfigError
from videodit.eval import pca


def test_components_are_those_of_the_singular_value_decomposition():
    rng = np.random.default_rng(0)
    values = (rng.normal(size=(3, 40, 6)) * [5, 3, 2, 1, 0.5, 0.1] + 2).astype(np.float32)
    mask = rng.random((3, 40)) < 0.8
    mean, covariance = pca.mean_and_covariance([(values[:2], mask[:2]), (values[2:], mask[2:])])
    got = pca.principal_components(mean, covariance, 2)
    kept = values[mask].astype(np.float64)
    _, singular, vectors = np.linalg.svd(kept - kept.mean(0), full_matrices=False)
    np.testing.assert_allclose(got["mean"], kept.mean(0), rtol=1e-5)
    np.testing.assert_allclose(got["stds"], singular[:2] / np.sqrt(len(kept)), rtol=1e-4)
    np.testing.assert_allclose(np.abs(got["components"].T @ vectors[:2].T), np.eye(2), atol=1e-3)
    projected = kept.mean(0) + (kept - kept.mean(0)) @ vectors[:2].T @ vectors[:2]
    np.testing.assert_allclose(pca.reconstruct(values, got)[mask], projected, atol=1e-3)


def test_batches_of_padding_alone_are_refused():
    padding = np.ones((2, 4, 6), np.float32), np.zeros((2, 4), bool)
    with pytest.raises(ConfigError, match=r"^data.catalog: expected a readable clip"):
        pca.mean_and_covariance([padding, padding])
