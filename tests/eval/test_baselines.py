import io

import av
import numpy as np
import pytest
import scipy.fft

from videodit.eval import baselines, quality
from videodit.eval.pca import mean_and_covariance

PATCH = (2, 4, 4)


def moving(frames=9, height=32, width=40, seed=0):
    """A textured picture that moves by a pixel a frame."""
    rng = np.random.default_rng(seed)
    picture = rng.integers(0, 256, (5, 8, 3)).repeat(8, 0).repeat(8, 1)
    picture = picture + rng.integers(-20, 21, picture.shape)
    video = np.stack([np.roll(picture, t, 1) for t in range(frames)])[:, :height, :width]
    return np.clip(video, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def codes():
    return baselines.fit_linear_codes([moving(seed=i) for i in range(4)], PATCH, 8)


def test_the_dct_is_that_of_each_patch(codes):
    components = codes["3D DCT"].components["components"]
    patch = np.random.default_rng(0).normal(size=(*PATCH, 3))
    all_coefficients = scipy.fft.dctn(patch, norm="ortho").ravel()
    kept = patch.ravel() @ components
    assert components.shape == (2 * 4 * 4 * 3, 8)
    assert all(np.isclose(all_coefficients, value, atol=1e-5).any() for value in kept)
    np.testing.assert_allclose(components.T @ components, np.eye(8), atol=1e-5)


def test_the_kept_coefficients_are_the_best_fixed_set():
    clip = moving()
    values = baselines._values(clip, PATCH).astype(np.float64)
    mean, covariance = mean_and_covariance([(values[None], np.ones((1, len(values)), bool))])
    got = baselines.dct_components(mean, covariance, PATCH, 8)["components"]
    patches = values.reshape(-1, *PATCH, 3)
    energy = scipy.fft.dctn(patches, axes=(1, 2, 3, 4), norm="ortho").reshape(len(values), -1)
    best = np.sort(energy.var(0))[::-1][:8].sum()
    assert (values @ got).var(0).sum() == pytest.approx(best, rel=1e-4)


def test_all_values_code_a_clip_exactly_and_few_code_pca_best(codes):
    clip = moving(seed=0)
    everything = baselines.fit_linear_codes([clip], PATCH, 96)
    for code in everything.values():
        np.testing.assert_allclose(code.reconstruct(clip).astype(int), clip, atol=1)
    pca, dct = (quality.psnr(clip, codes[name].reconstruct(clip)) for name in ("PCA", "3D DCT"))
    assert pca > dct > 15


def test_linear_codes_take_sizes_that_are_no_whole_patches(codes):
    clip = moving(8, 30, 37)
    output = codes["PCA"].reconstruct(clip)
    assert output.shape == clip.shape and output.dtype == np.uint8
    assert quality.psnr(clip, output) > 15


@pytest.mark.parametrize("frames", [1, 9])
def test_h264_fills_the_bytes_that_it_is_given(frames):
    clip = moving(frames)
    previous = 0
    for size in (600 + 60 * frames, 1500 + 150 * frames):
        output, taken = baselines.h264(clip, 12.0, size)
        assert output.shape == clip.shape and 0.75 * size < taken <= size
        assert quality.psnr(clip, output) > previous + 1
        previous = quality.psnr(clip, output)


def test_h264_that_cannot_be_so_small_says_what_it_took():
    _, taken = baselines.h264(moving(), 12.0, 10)
    assert taken > 10


def test_bytes_are_those_of_the_pictures():
    video = baselines._h264(moving(), 12.0, 20.0)
    with av.open(io.BytesIO(video)) as container:
        packets = sum(packet.size for packet in container.demux(video=0))
    assert b"x264 - core" in video  # the metadata, some 700 bytes
    assert packets - 900 < baselines.video_bytes(video) < packets - 400
