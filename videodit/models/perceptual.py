"""Perceptual distances between pictures (N H W 3 in [-1, 1]), and distances between their textures.

There are two kinds of features. "multiscale" features are not learned and need no file: they are
the coefficients of 4 x 4 cosine transforms at every pixel, at three scales. "lpips" features are
those of a VGG-16 network whose weights the user provides; they are compared as in LPIPS
(arXiv:1801.03924). The distance between Gram matrices (arXiv:1508.06576) compares which features
occur together, wherever they are in the picture: it compares textures.
"""

import functools
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from videodit.config import MULTISCALE, ConfigError, check

FIELD = "losses.perceptual_features"  # the config field that names the features
SCALES = 3
WINDOW = 4  # pixels: side of a cosine transform
MIN_SIDE = 16  # pixels: both kinds of features halve a picture several times

# Indices of the convolutions in torchvision's vgg16().features, by block. LPIPS compares the last
# output of each block.
VGG_BLOCKS = ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28))
LPIPS_SHIFT = np.array([-0.030, -0.088, -0.188], np.float32)
LPIPS_SCALE = np.array([0.458, 0.448, 0.450], np.float32)

Weights = Mapping[str, jax.Array]  # empty for the multiscale features
Pairs = Sequence[Sequence[jax.Array]]  # (features of a, features of b) of each scale or block


def read_features(name: str, field: str = FIELD) -> tuple[str, dict[str, np.ndarray]]:
    """The name of the features in reports, and their weights.

    `name`: "multiscale", or an .npz file with the weights of LPIPS. `field`: the name of this
    option in errors. Raises ConfigError for a file that `read_lpips` refuses.
    """
    return (MULTISCALE, {}) if name == MULTISCALE else ("lpips", read_lpips(name, field))


def read_lpips(path: str | Path, field: str = FIELD) -> dict[str, np.ndarray]:
    """The weights of LPIPS with VGG-16: float32 arrays under the names that PyTorch gives them.

    These are features.I.weight (out, in, 3, 3) and features.I.bias of torchvision's vgg16, for each
    I of VGG_BLOCKS, and linJ.model.1.weight (1, channels, 1, 1) of the package lpips, for J = 0 to
    4. This writes the file:

      folder = pathlib.Path(lpips.__file__).parent / "weights/v0.1"  # linear layers, for VGG
      state = torchvision.models.vgg16(weights="DEFAULT").state_dict()
      state |= torch.load(folder / "vgg.pth")
      np.savez("lpips.npz", **{k: v.numpy() for k, v in state.items() if k[:3] in ("fea", "lin")})

    Raises ConfigError that names `field` if the file cannot be read, lacks an array, or has an
    array of the shape of another network.
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


def feature_pairs(weights: Weights, a: jax.Array, b: jax.Array) -> Pairs:
    """The features (N h w C) of pictures a and of pictures b, at each scale or block."""
    extract = vgg_features if weights else multiscale_features
    return [jnp.split(x, 2) for x in extract(weights, jnp.concatenate([a, b]))]


def perceptual_distance(weights: Weights, pairs: Pairs) -> jax.Array:
    """The perceptual distances between pictures with these `feature_pairs`: float32 N."""
    return (lpips if weights else multiscale)(weights, pairs)


def gram_distance(weights: Weights, pairs: Pairs) -> jax.Array:
    """The mean absolute differences between Gram matrices of these `feature_pairs`: float32 N."""
    return _sum(_mean(jnp.abs(_gram(x) - _gram(y))) for x, y in pairs) / len(pairs)


def multiscale(weights: Weights, pairs: Pairs) -> jax.Array:
    """The mean absolute differences between features: float32 N."""
    return _sum(_mean(jnp.abs(x - y)) for x, y in pairs) / len(pairs)


def lpips(weights: Weights, pairs: Pairs) -> jax.Array:
    """Squared differences between features, weighted by channel, summed over blocks: float32 N."""
    channels = [weights[f"lin{j}.model.1.weight"].reshape(-1) for j in range(len(pairs))]
    return _sum(
        (jnp.square(x - y) * channel).sum(-1).mean((1, 2))
        for (x, y), channel in zip(pairs, channels)
    )


def multiscale_features(weights: Weights, images: jax.Array) -> list[jax.Array]:
    """The cosine coefficients of each colour at every pixel, without the mean: N h w 45 a scale."""
    features = []
    for scale in range(SCALES):
        images = images if scale == 0 else _pool(images, jax.lax.add) / 4
        features.append(_cosines(images))
    return features


def vgg_features(weights: Weights, images: jax.Array) -> list[jax.Array]:
    """The last outputs of the five blocks of VGG-16, normalised over the channels: N h w C each."""
    x = (images - LPIPS_SHIFT) / LPIPS_SCALE
    features: list[jax.Array] = []
    for block in VGG_BLOCKS:
        x = _pool(x, jax.lax.max) if features else x
        for index in block:
            kernel = weights[f"features.{index}.weight"].transpose(2, 3, 1, 0)
            x = jax.nn.relu(_convolve(x, kernel, "SAME") + weights[f"features.{index}.bias"])
        norm = jnp.sqrt(jnp.square(x).sum(-1, keepdims=True) + 1e-20)  # a finite gradient at 0
        features.append(x / (norm + 1e-10))
    return features


def _cosines(images: jax.Array) -> jax.Array:
    """N H W 3 -> N h w 45: the orthonormal DCT-II of every window, without its mean."""
    frequency, pixel = np.arange(WINDOW)[:, None], np.arange(WINDOW)
    basis = np.cos(np.pi * (2 * pixel + 1) * frequency / (2 * WINDOW)) * (2 / WINDOW) ** 0.5
    basis[0] *= 0.5**0.5
    x = images
    for axis in (1, 2):
        places = x.shape[axis] - WINDOW + 1
        parts = [jax.lax.slice_in_dim(x, j, j + places, axis=axis) for j in range(WINDOW)]
        # A matmul with the basis would need an operand four times as large as x; sums do not.
        waves = [_sum(float(w) * part for w, part in zip(wave, parts)) for wave in basis]
        x = jnp.stack(waves, axis=-1)
    return x.reshape(*x.shape[:4], -1)[..., 1:].reshape(*x.shape[:3], -1)


def _convolve(x: jax.Array, kernel: jax.Array, padding: str) -> jax.Array:
    layout = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), padding, dimension_numbers=layout)


def _pool(x: jax.Array, reduce: Callable) -> jax.Array:
    """The sum (lax.add) or maximum (lax.max) of each square of 2 x 2 pixels."""
    start = -jnp.inf if reduce is jax.lax.max else 0.0
    return jax.lax.reduce_window(x, start, reduce, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")


def _gram(x: jax.Array) -> jax.Array:
    """N h w C -> N C C: products of features, averaged over pixels."""
    return jnp.einsum("nhwc,nhwd->ncd", x, x) / (x.shape[1] * x.shape[2])


def _mean(x: jax.Array) -> jax.Array:
    """The mean of each picture: N."""
    return x.mean(tuple(range(1, x.ndim)))


def _sum(terms: Iterable[jax.Array]) -> jax.Array:
    return functools.reduce(jnp.add, terms)
