"""A codec of others in one file: every patch times a matrix. Its folder holds kernel.npy, P C."""

from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from videodit.config import RANDOM, ConfigError
from videodit.models.autoencoder import to_pixels
from videodit.models.protocols import LatentCodec, Statistics
from videodit.models.registry import register_codec
from videodit.sharding import replicate, spec

PATCH = (4, 8, 8)
VALUES = 3 * 4 * 8 * 8
CHANNELS = 6


class ToyCodec(LatentCodec):
    """Latents are x K and pixels z K^T, for patches x in [-1, 1]."""

    def __init__(self, cfg, compute):
        self.cfg, self.patch, self.channels = cfg, cfg.patch, cfg.channels

    @staticmethod
    def resolve(cfg):
        channels = CHANNELS if cfg.workdir == RANDOM else read_kernel(cfg.workdir).shape[1]
        return replace(cfg, patch=PATCH, channels=channels, chunk=1)

    def init(self, key):
        return {"kernel": jax.random.normal(key, (VALUES, CHANNELS)) / VALUES**0.5}

    def read(self):
        return replicate({"kernel": read_kernel(self.cfg.workdir)})

    def statistics(self):
        return Statistics(np.zeros(self.channels), np.eye(self.channels))

    def encode(self, params, batch, segment_ids):
        return product(to_pixels(batch.tokens), params["kernel"])

    def decode(self, params, latents, batch):
        return product(latents, params["kernel"].T)

    def stream(self, params, method, grid, fps):
        kernel = np.asarray(params["kernel"])
        return ToyStream(kernel if method == "encode" else kernel.T)


class ToyStream:
    """Frame by frame nothing else is known, so the past does not matter."""

    def __init__(self, kernel):
        self.kernel = kernel

    def step(self, values):
        values = values / np.float32(127.5) - 1 if values.dtype == np.uint8 else values
        return (values @ self.kernel).astype(np.float32)


def product(x, kernel):
    """x B L n times kernel n m, sharded as the rows are."""
    return jnp.matmul(x, kernel, out_sharding=spec("batch", "length", None))


def read_kernel(workdir):
    path = Path(workdir) / "kernel.npy"
    if not path.is_file():
        raise ConfigError(f"autoencoder.workdir={workdir!r}: expected a folder with kernel.npy")
    return np.load(path)


def write_codec(folder, seed=0):
    """The folder of a codec with random orthogonal columns."""
    kernel = np.random.default_rng(seed).normal(size=(VALUES, CHANNELS))
    folder.mkdir(exist_ok=True)
    np.save(folder / "kernel.npy", np.linalg.qr(kernel)[0].astype(np.float32))
    return str(folder)


register_codec("toy", ToyCodec)
