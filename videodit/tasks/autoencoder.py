"""Training the video autoencoder: squared error of the pixels that exist, and a little KL."""

import itertools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from videodit.config import Config
from videodit.data.packing import unpack
from videodit.diffusion.flow import token_noise, token_weights
from videodit.eval import pca
from videodit.eval.reconstruction import clip_psnr
from videodit.flops import BACKWARD, stack_flops
from videodit.models.autoencoder import (
    SIZES,
    make_autoencoder,
    pixel_mask,
    to_bytes,
    to_pixels,
    with_frozen_linear_path,
    with_linear_path,
)
from videodit.sharding import replicate
from videodit.tasks.task import Drawing
from videodit.tasks.views import cells, segment_one_hot

STATISTICS_FILE = "latents.json"
STATISTICS_BATCHES = 16
DRAWN_CLIPS = 6


class AutoencoderTask:
    """A `Task`; its frozen arrays are the PCA of training patches: baseline and starting point."""

    def __init__(self, cfg: Config):
        self.cfg, self.channels = cfg.autoencoder, cfg.autoencoder.channels
        self.init_params, self.apply = make_autoencoder(cfg.autoencoder, cfg.compute)
        self._statistics_step = jax.jit(self._latents)
        self._draw_step = jax.jit(self.reconstruct)

    def make_frozen(self, batches):
        """PCA of the patches of the first training batches: mean, components, deviations."""
        count = max(self.cfg.pca_batches, 1)
        patches = ((to_pixels(b.tokens), b.segment_ids > 0) for b in batches)
        mean, covariance = pca.mean_and_covariance(itertools.islice(patches, count))
        return replicate(pca.principal_components(mean, covariance, self.channels))

    def init(self, key, frozen):
        params = self.init_params(key)
        return with_linear_path(params, **frozen) if self.cfg.pca_batches else params

    def weights(self, batch):
        return token_weights(batch.segment_ids > 0, None, "token")

    def flops(self, tokens, text):
        return (1 + BACKWARD) * 2 * stack_flops(SIZES[self.cfg.size], tokens)

    def loss(self, params, frozen, batch, weights, key):
        """Mean squared error of a token's pixels + kl_weight KL(posterior | N(0, 1))."""
        if self.cfg.pca_batches:
            params = with_frozen_linear_path(params)
        pixels, mask = to_pixels(batch.tokens), pixel_mask(batch.positions, self.cfg.patch)
        place = cells(batch, self.cfg)
        mean, log_variance = self.apply(params, pixels, place, method="encode")
        noise = token_noise(
            key, batch.sample_ids, batch.segment_ids, batch.positions, self.channels
        )
        latents = mean + jnp.exp(log_variance / 2) * noise
        output = self.apply(params, latents, place, method="decode")
        error = (jnp.square(output - pixels) * mask).sum(-1) / mask.sum(-1)
        kl = 0.5 * (jnp.square(mean) + jnp.exp(log_variance) - 1 - log_variance).sum(-1)
        parts = {"squared_error": (weights * error).sum(), "kl": (weights * kl).sum()}
        return parts["squared_error"] + self.cfg.kl_weight * parts["kl"], parts

    def reconstruct(self, params, batch):
        """Decoded posterior means: B L P float32."""
        place = cells(batch, self.cfg)
        mean, _ = self.apply(params, to_pixels(batch.tokens), place, method="encode")
        return self.apply(params, mean, place, method="decode")

    def evaluate(self, params, frozen, batch, key):
        pixels, mask = to_pixels(batch.tokens), pixel_mask(batch.positions, self.cfg.patch)
        one_hot = segment_one_hot(batch)
        outputs = {
            "psnr": self.reconstruct(params, batch),
            "psnr_pca": pca.reconstruct(pixels, frozen),
        }
        return {name: clip_psnr(pixels, output, mask, one_hot) for name, output in outputs.items()}

    def draw(self, params, frozen, batch):
        output = jax.device_get(replicate(to_bytes(self._draw_step(params, batch))))
        batch = jax.device_get(replicate(batch))
        originals, outputs = (unpack(t, batch, self.cfg.patch) for t in (batch.tokens, output))
        fps = batch.fps[batch.valid]
        longest = np.argsort([-len(clip) for clip in originals], kind="stable")[:DRAWN_CLIPS]
        return [
            Drawing(f"{role}_{i}", clips[n], float(fps[n]), "", role, str(i))
            for i, n in enumerate(longest)
            for role, clips in (("original", originals), ("reconstruction", outputs))
        ]

    def finish(self, params, frozen, batches, workdir):
        """Writes latents.json: mean C and covariance C C of the latents of training clips."""
        latents = (
            self._statistics_step(params, batch)
            for batch in itertools.islice(batches, STATISTICS_BATCHES)
        )
        mean, covariance = pca.mean_and_covariance(latents)
        text = json.dumps({"mean": mean.tolist(), "covariance": covariance.tolist()})
        if jax.process_index() == 0:
            (Path(workdir) / STATISTICS_FILE).write_text(text)

    def _latents(self, params, batch):
        place = cells(batch, self.cfg)
        mean, _ = self.apply(params, to_pixels(batch.tokens), place, method="encode")
        return mean, batch.segment_ids > 0
