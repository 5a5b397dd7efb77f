"""A codec of others that needs whole clips, in one file: a convolution over neighbouring cells."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np

from videodit.data.patches import cells_of, frames_of
from videodit.models.protocols import LatentCodec, Statistics
from videodit.models.registry import register_codec
from videodit.sharding import replicate

PATCH = (4, 8, 8)
CHANNELS = 5


class ToyConvolution(LatentCodec):
    """The mean colours of 3 x 3 cells make a latent; a latent makes the colour of its cell."""

    packed = False

    def __init__(self, cfg, compute):
        self.cfg, self.patch, self.channels = cfg, cfg.patch, cfg.channels

    @staticmethod
    def resolve(cfg):
        return replace(cfg, patch=PATCH, channels=CHANNELS, chunk=1)

    def init(self, key):
        a, b = jax.random.split(key)
        return {
            "encoder": jax.random.normal(a, (3, 3, 3, CHANNELS)) / 27**0.5,
            "decoder": jax.random.normal(b, (CHANNELS, 3)),
        }

    def read(self):
        """Made from the name of the folder, in place of a file of weights."""
        seed = int.from_bytes(self.cfg.workdir.encode()[-4:], "big")
        return replicate(jax.device_get(self.init(jax.random.key(seed))))

    def statistics(self):
        return Statistics(np.zeros(CHANNELS), np.eye(CHANNELS))

    def stream(self, params, method, grid, fps):
        return Encoder(params["encoder"]) if method == "encode" else Decoder(params["decoder"])


class Encoder:
    def __init__(self, kernel):
        self.kernel, self.first = kernel, True

    def step(self, values):
        t, h, w, _ = values.shape
        frames = frames_of(values, PATCH, first=self.first) / np.float32(127.5) - 1
        colours = frames.reshape(t, -1, h, PATCH[1], w, PATCH[2], 3).mean((1, 3, 5))
        self.first = False
        layout = ("NHWC", "HWIO", "NHWC")
        latents = jax.lax.conv_general_dilated(
            jnp.asarray(colours), self.kernel, (1, 1), "SAME", dimension_numbers=layout
        )
        return np.asarray(latents)


class Decoder:
    def __init__(self, kernel):
        self.kernel, self.first = np.asarray(kernel), True

    def step(self, values):
        colours = np.tanh(values @ self.kernel)
        frames = colours.repeat(1 if self.first else PATCH[0], 0)
        frames = frames.repeat(PATCH[1], 1).repeat(PATCH[2], 2)
        first, self.first = self.first, False
        return cells_of(frames, PATCH, first=first)


register_codec("toy convolution", ToyConvolution)
