import numpy as np
import pytest

from videodit.eval import quality


def clips(height, width, frames=3):
    """Ramps, a busy texture and a wave, and the same with noise."""
    t, y, x = np.meshgrid(*map(np.arange, (frames, height, width)), indexing="ij")
    wave = 128 + 100 * np.sin((x + 2 * y + t) / 9)
    a = np.stack([(7 * x + 3 * y + 11 * t) % 256, (x * y + 5 * t) % 256, wave], -1).astype(np.uint8)
    noise = np.random.default_rng(0).integers(-40, 41, a.shape)
    return a, np.clip(a.astype(int) + noise, 0, 255).astype(np.uint8)


def test_psnr_is_that_of_a_known_error():
    a = np.full((2, 4, 4, 3), 100, np.uint8)
    b = a.copy()
    b[0, 0, 0, 0] += 48  # mean square 48^2 / 96 = 24
    assert quality.psnr(a, b) == pytest.approx(10 * np.log10(255**2 / 24))
    assert quality.psnr(a, a) == quality.MOST_PSNR
    assert quality.squared_error(a, b)[0, 0, 0] == 48**2 / 3


@pytest.mark.parametrize(
    "size, ssim, multiscale",
    [((48, 72), 0.6987079, 0.9499659), ((180, 200), 0.7037487, 0.9487960)],
)
def test_similarities_are_those_of_scikit_image(size, ssim, multiscale):
    # structural_similarity(gaussian_weights=True, sigma=1.5, use_sample_covariance=False) of
    # scikit-image 0.26; the terms of a scale alone with K1=1e8, sizes by downscale_local_mean.
    a, b = clips(*size)
    assert quality.ssim(a, b) == pytest.approx(ssim, abs=2e-6)
    assert quality.multiscale_ssim(a, b) == pytest.approx(multiscale, abs=2e-6)


def test_similarity_of_flat_frames_is_that_of_their_brightness():
    a, b = (np.full((2, 16, 16, 3), value, np.uint8) for value in (60, 120))
    c1 = (0.01 * 255) ** 2
    expected = (2 * 60 * 120 + c1) / (60**2 + 120**2 + c1)  # Wang et al. 2004, eq. 6
    assert quality.ssim(a, b) == pytest.approx(expected, abs=1e-3)
    assert quality.ssim(a, a) == pytest.approx(1)


def test_small_frames_have_fewer_scales_or_no_similarity():
    sizes = [(176, 200), (175, 200), (48, 72), (11, 11), (10, 64)]
    assert [quality.scales(*size) for size in sizes] == [5, 4, 3, 1, 0]
    a, b = clips(11, 11)
    assert quality.multiscale_ssim(a, b) == pytest.approx(quality.ssim(a, b), abs=0.05)
    a, b = clips(10, 64)
    assert np.isnan(quality.ssim(a, b)) and np.isnan(quality.multiscale_ssim(a, b))


def test_flicker_is_of_errors_that_change():
    rng = np.random.default_rng(0)
    original = rng.integers(40, 200, (4, 8, 8, 3)).astype(np.uint8)
    still = original + 20
    blinking = original + np.array([0, 6, 0, 6], np.uint8)[:, None, None, None]
    assert quality.flicker(original, still) == 0
    assert quality.flicker(original, blinking) == 6
    assert np.isnan(quality.flicker(original[:1], still[:1]))
    once = original.copy()
    once[2:] += 9
    np.testing.assert_allclose(quality.changes(original, once), [0, 9, 0])
