import jax
import jax.numpy as jnp
import numpy as np
from packs import PATCH, clip, pack, tiny_config

from videodit.eval import pca
from videodit.models import autoencoder
from videodit.models.autoencoder import pixel_mask, to_bytes, to_pixels, with_linear_path
from videodit.models.cells import cells

CFG = tiny_config("autoencoder")


def test_bytes_and_pixels_are_inverse():
    values = jnp.arange(256, dtype=jnp.uint8)
    pixels = to_pixels(values)
    assert pixels.min() == -1 and pixels.max() == 1
    np.testing.assert_array_equal(to_bytes(pixels), values)


def test_with_the_linear_path_it_starts_as_pca():
    batch = pack([[clip(0), clip(1)], [clip(2)]])
    pixels, mask = to_pixels(batch.tokens), batch.segment_ids > 0
    fitted = pca.principal_components(*pca.mean_and_covariance([(pixels, mask)]), 16)
    init, apply = autoencoder.make_autoencoder(CFG.autoencoder, CFG.compute)
    params = with_linear_path(init(jax.random.key(0)), **fitted)
    place = cells(batch, CFG.autoencoder)
    with jax.default_matmul_precision("highest"):
        mean, _ = apply(params, pixels, place, method="encode")
        output = apply(params, mean, place, method="decode")
        expected = pca.reconstruct(pixels, fitted)
    np.testing.assert_allclose(output[mask], expected[mask], atol=1e-4)
    kept = np.asarray(mean[mask])
    np.testing.assert_allclose(kept.T @ kept / len(kept), np.eye(16), atol=2e-3)  # whitened


def test_only_the_last_copy_of_the_first_frame_counts():
    batch = pack([[clip(0)]])  # 9 frames, 24 x 16: 6 cells a latent frame
    mask = np.asarray(pixel_mask(batch.positions, PATCH)).reshape(-1, 4, 8, 8, 3)
    assert (mask[:6, :3] == 0).all() and (mask[:6, 3] == 1).all() and (mask[6:18] == 1).all()
