import jax.numpy as jnp
import numpy as np
import pytest
from scipy.fft import dctn
from scipy.signal import correlate2d

from videodit.config import ConfigError
from videodit.models.perceptual import (
    VGG_BLOCKS,
    feature_pairs,
    gram_distance,
    multiscale_features,
    perceptual_distance,
    read_features,
    read_lpips,
    vgg_features,
)

CHANNELS = (3, 4, 2, 3, 2)  # of the blocks of a small network


def images(count=2, side=16, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (count, side, side, 3)).astype(np.float32)


def small_network(path):
    """LPIPS weights of a network like VGG-16 but with few channels."""
    rng, arrays, inputs = np.random.default_rng(1), {}, 3
    for block, channels in zip(VGG_BLOCKS, CHANNELS):
        for index in block:
            arrays[f"features.{index}.weight"] = rng.normal(0, 0.5, (channels, inputs, 3, 3))
            arrays[f"features.{index}.bias"] = rng.normal(0, 0.1, channels)
            inputs = channels
    for j, channels in enumerate(CHANNELS):
        arrays[f"lin{j}.model.1.weight"] = rng.uniform(0, 1, (1, channels, 1, 1))
    np.savez(path, **arrays)
    return path


def test_multiscale_features_are_cosine_transforms_of_every_window():
    picture = images()
    first, second, _ = multiscale_features({}, picture)
    expected = (
        dctn(picture[1, 5:9, 2:6], axes=(0, 1), norm="ortho").reshape(16, 3)[1:].T.reshape(-1)
    )
    np.testing.assert_allclose(first[1, 5, 2], expected, atol=1e-5)
    halved = picture.reshape(2, 8, 2, 8, 2, 3).mean((2, 4))
    expected = dctn(halved[0, 4:, 4:], axes=(0, 1), norm="ortho").reshape(16, 3)[1:].T.reshape(-1)
    np.testing.assert_allclose(second[0, -1, -1], expected, atol=1e-5)


def distances(weights, a, b):
    pairs = feature_pairs(weights, jnp.float32(a), jnp.float32(b))
    return perceptual_distance(weights, pairs), gram_distance(weights, pairs)


def test_the_same_picture_is_at_distance_0_and_another_brightness_too():
    picture = images()
    for other in (picture, picture + 0.3):
        np.testing.assert_allclose(distances({}, picture, other), 0, atol=1e-5)
    assert (np.array(distances({}, picture, images(seed=5))) > 0.01).all()


def test_gram_matrices_see_textures_and_not_where_they_are():
    stripes = np.tile(np.sin(np.arange(64) * np.pi / 2)[:, None, None], (1, 64, 3))[None]
    moved = np.roll(stripes, 1, axis=1)
    turned = stripes.transpose(0, 2, 1, 3)
    (perceptual_moved, gram_moved), (_, gram_turned) = (
        distances({}, stripes, x) for x in (moved, turned)
    )
    assert perceptual_moved > 0.1 and gram_moved < 0.1 * gram_turned


def test_lpips_is_its_definition(tmp_path):
    weights = read_lpips(small_network(tmp_path / "lpips.npz"))
    a, b = images(seed=2), images(seed=3)
    got, _ = distances(weights, a, b)
    expected = [lpips_by_hand(weights, x, y) for x, y in zip(a, b)]
    np.testing.assert_allclose(got, expected, rtol=1e-4)


def lpips_by_hand(weights, a, b):
    total = 0
    for j, (x, y) in enumerate(zip(vgg_by_hand(weights, a), vgg_by_hand(weights, b))):
        x, y = (v / np.linalg.norm(v, axis=0, keepdims=True).clip(1e-10) for v in (x, y))
        channel = weights[f"lin{j}.model.1.weight"][0]
        total += (channel * (x - y) ** 2).sum(0).mean()
    return total


def vgg_by_hand(weights, image):
    shift, scale = np.array([-0.030, -0.088, -0.188]), np.array([0.458, 0.448, 0.450])
    x, outputs = ((image - shift) / scale).transpose(2, 0, 1), []
    for block in VGG_BLOCKS:
        if outputs:
            c, h, w = x.shape
            x = x.reshape(c, h // 2, 2, w // 2, 2).max((2, 4))
        for index in block:
            kernel, bias = weights[f"features.{index}.weight"], weights[f"features.{index}.bias"]
            x = np.stack([
                sum(correlate2d(plane, k, mode="same") for plane, k in zip(x, kernels)) + offset
                for kernels, offset in zip(kernel, bias)
            ]).clip(0)  # fmt: skip
        outputs.append(x)
    return outputs


def test_features_of_a_black_picture_have_finite_slopes(tmp_path):
    import jax

    weights = read_lpips(small_network(tmp_path / "lpips.npz"))
    slope = jax.grad(lambda x: sum(f.sum() for f in vgg_features(weights, x)))
    assert np.isfinite(slope(jnp.zeros((1, 16, 16, 3)))).all()


def test_features_are_named_and_a_bad_file_is_refused(tmp_path):
    assert read_features("multiscale") == ("multiscale", {})
    path = small_network(tmp_path / "lpips.npz")
    assert read_features(str(path))[0] == "lpips"
    with pytest.raises(ConfigError, match=r"losses.perceptual_features='.*none.npz': .*No such"):
        read_features(str(tmp_path / "none.npz"))
    arrays = dict(np.load(path))
    other = arrays | {"lin2.model.1.weight": np.ones((1, 5, 1, 1))}
    np.savez(tmp_path / "alexnet.npz", **other)
    with pytest.raises(ConfigError, match=r"lin2.model.1.weight of shape=\(1, 5, 1, 1\): expected"):
        read_lpips(tmp_path / "alexnet.npz")
    del arrays["lin3.model.1.weight"], arrays["features.7.bias"]
    np.savez(path, **arrays)
    with pytest.raises(ConfigError, match=r"expected arrays features.7.bias, lin3.model.1.weight"):
        read_lpips(path)
    for content in (b"", b"text", b"PK\x03\x04", b"\x93NUMPY"):
        (tmp_path / "bad.npz").write_bytes(content)
        with pytest.raises(ConfigError, match=r"--lpips='.*bad.npz': File is not a zip file"):
            read_features(str(tmp_path / "bad.npz"), "--lpips")
