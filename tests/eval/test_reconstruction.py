import jax
import numpy as np

from videodit.eval.reconstruction import clip_psnr


def test_psnr_counts_each_clips_own_pixels():
    rng = np.random.default_rng(0)
    original = rng.uniform(-1, 1, (1, 6, 4)).astype(np.float32)
    noisy = np.clip(original + rng.normal(0, 0.1, original.shape), -1, 1).astype(np.float32)
    mask = np.ones_like(original)
    mask[0, 0, :2] = 0  # pixels that do not exist
    ids = np.array([[0, 0, 1, 1, 1, -1]])
    got = clip_psnr(original, noisy, mask, jax.nn.one_hot(ids, 3))
    for clip in (0, 1):
        tokens = (ids[0] == clip)[:, None] & (mask[0] > 0)
        error = np.square(original[0][tokens] - noisy[0][tokens]).mean()
        np.testing.assert_allclose(got[0, clip], 20 * np.log10(2 / np.sqrt(error)), rtol=1e-5)
