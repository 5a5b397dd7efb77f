"""Perceptual distances of pictures N H W 3 in [-1, 1], and distances of their textures.

Two kinds of features: "multiscale" needs no file and is not learned: the coefficients of 4 x 4
cosine transforms at every pixel (edges and frequencies), at three scales. "lpips" are those of a
VGG-16 network that the user brings, compared as LPIPS does (arXiv:1801.03924). A distance of Gram
matrices (arXiv:1508.06576) compares which features go together, wherever they are: textures.
"""

import zipfile
from collections.abc import Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from videodit.config import MULTISCALE, ConfigError, check

FIELD = "losses.perceptual_features"  # of the config
SCALES = 3
WINDOW = 4  # pixels of a cosine transform
MIN_SIDE = 16  # pixels: both kinds of features halve a picture several times

# Convolutions of torchvision's vgg16().features, by the block they are in; LPIPS compares the
# last output of each block.
VGG_BLOCKS = ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28))
LPIPS_SHIFT = np.array([-0.030, -0.088, -0.188], np.float32)
LPIPS_SCALE = np.array([0.458, 0.448, 0.450], np.float32)

Weights = Mapping[str, jax.Array]  # empty for the multiscale features


def read_features(name: str, field: str = FIELD) -> tuple[str, dict[str, np.ndarray]]:
    """What reports call the features, and their weights: of "multiscale", or of an .npz file.

    `field`: what errors call it.
    """
    return (MULTISCALE, {}) if name == MULTISCALE else ("lpips", read_lpips(name, field))


def read_lpips(path: str | Path, field: str = FIELD) -> dict[str, np.ndarray]:
    """The weights of LPIPS with VGG-16: float32 arrays under the names that PyTorch gives them.

    features.I.weight (out, in, 3, 3) and features.I.bias of torchvision's vgg16, for the I of
    VGG_BLOCKS, and linJ.model.1.weight (1, channels, 1, 1) of the package lpips, for J = 0 to 4:

      folder = pathlib.Path(lpips.__file__).parent / "weights/v0.1"  # linear layers, for VGG
      state = torchvision.models.vgg16(weights="DEFAULT").state_dict()
      state |= torch.load(folder / "vgg.pth")
      np.savez("lpips.npz", **{k: v.numpy() for k, v in state.items() if k[:3] in ("fea", "lin")})

    Raises ConfigError naming `field` if the file cannot be read, lacks one, or has one of another
    network's shape.
    """
    field = f"{field}={str(path)!r}"
    try:
        with zipfile.ZipFile(path), np.load(path) as file:
            arrays = dict(file)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise ConfigError(f"{field}: {error}") from None
    convolutions = [index for block in VGG_BLOCKS for index in block]
    names = [f"features.{i}.{part}" for i in convolutions for part in ("weight", "bias")]
    names += [f"lin{j}.model.1.weight" for j in range(len(VGG_BLOCKS))]
    if missing := [name for name in names if name not in arrays]:
        raise ConfigError(f"{field}: expected arrays {', '.join(missing)}")
    for j, block in enumerate(VGG_BLOCKS):
        name, channels = f"lin{j}.model.1.weight", len(arrays[f"features.{block[-1]}.weight"])
        expected = f"shape {(1, channels, 1, 1)}, as LPIPS has it for VGG-16"
        shape = arrays[name].shape
        check(shape == (1, channels, 1, 1), f"{field}: {name} of shape", shape, expected)
    return {name: arrays[name].astype(np.float32) for name in names}


def feature_pairs(weights: Weights, a, b):
    """Features of pictures a and b, N H W 3 in [-1, 1]: of each scale or block a pair N h w C."""
    extract = vgg_features if weights else multiscale_features
    return [jnp.split(x, 2) for x in extract(weights, jnp.concatenate([a, b]))]


def perceptual_distance(weights: Weights, pairs):
    """The perceptual distance of pictures with these `feature_pairs`: N float32."""
    return (lpips if weights else multiscale)(weights, pairs)


def gram_distance(weights: Weights, pairs):
    """The distance of the Gram matrices of these `feature_pairs`: N float32."""
    return sum(_mean(jnp.abs(_gram(x) - _gram(y))) for x, y in pairs) / len(pairs)


def multiscale(weights: Weights, pairs):
    """Mean absolute difference of features (a, b), each N h w C: N float32."""
    return sum(_mean(jnp.abs(x - y)) for x, y in pairs) / len(pairs)


def lpips(weights: Weights, pairs):
    """Squared differences of features weighted by channel, summed over the blocks: N float32."""
    total = 0.0
    for j, (x, y) in enumerate(pairs):
        channel = weights[f"lin{j}.model.1.weight"].reshape(-1)
        total += (jnp.square(x - y) * channel).sum(-1).mean((1, 2))
    return total


def multiscale_features(weights: Weights, images):
    """Cosine coefficients of each colour at every pixel, without the mean, at each scale."""
    features = []
    for scale in range(SCALES):
        images = images if scale == 0 else _pool(images, jax.lax.add) / 4
        features.append(_cosines(images))
    return features


def vgg_features(weights: Weights, images):
    """The last outputs of the five blocks of VGG-16, normalised over the channels."""
    x, features = (images - LPIPS_SHIFT) / LPIPS_SCALE, []
    for block in VGG_BLOCKS:
        x = _pool(x, jax.lax.max) if features else x
        for index in block:
            kernel = weights[f"features.{index}.weight"].transpose(2, 3, 1, 0)
            x = jax.nn.relu(_convolve(x, kernel, "SAME") + weights[f"features.{index}.bias"])
        norm = jnp.sqrt(jnp.square(x).sum(-1, keepdims=True) + 1e-20)  # finite slope at 0
        features.append(x / (norm + 1e-10))
    return features


def _cosines(images):
    """N H W 3 -> N h w 45: the orthonormal DCT-II of every window, but its mean."""
    k, x = np.arange(WINDOW)[:, None], np.arange(WINDOW)
    basis = np.cos(np.pi * (2 * x + 1) * k / (2 * WINDOW)) * (2 / WINDOW) ** 0.5
    basis[0] *= 0.5**0.5
    x = images
    for axis in (1, 2):
        places = x.shape[axis] - WINDOW + 1
        parts = [jax.lax.slice_in_dim(x, j, j + places, axis=axis) for j in range(WINDOW)]
        # Sums and no product with the basis, whose operand would be four times x in memory.
        waves = [sum(float(w) * part for w, part in zip(wave, parts)) for wave in basis]
        x = jnp.stack(waves, axis=-1)
    return x.reshape(*x.shape[:4], -1)[..., 1:].reshape(*x.shape[:3], -1)


def _convolve(x, kernel, padding: str):
    layout = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), padding, dimension_numbers=layout)


def _pool(x, reduce):
    """Sum or maximum of squares of 2 x 2 pixels."""
    start = -jnp.inf if reduce is jax.lax.max else 0.0
    return jax.lax.reduce_window(x, start, reduce, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")


def _gram(x):
    """N h w C -> N C C, means over the places."""
    return jnp.einsum("nhwc,nhwd->ncd", x, x) / (x.shape[1] * x.shape[2])


def _mean(x):
    return x.mean(tuple(range(1, x.ndim)))
