"""Training the video autoencoder: the terms of tasks/losses.py, and a little KL."""

import itertools
import json
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from videodit.config import Config
from videodit.data.packing import unpack
from videodit.diffusion.flow import token_noise, token_weights
from videodit.eval import pca
from videodit.eval.reconstruction import clip_psnr
from videodit.flops import coder_flops
from videodit.models.autoencoder import (
    SIZES,
    make_autoencoder,
    pixel_mask,
    to_bytes,
    to_pixels,
    with_frozen_linear_path,
    with_linear_path,
)
from videodit.models.discriminator import NAME, without_discriminator
from videodit.sharding import first_rows, replicate
from videodit.tasks.losses import Losses, Target, with_gradients
from videodit.tasks.task import Drawing
from videodit.tasks.views import cells, segment_one_hot

STATISTICS_FILE = "latents.json"
STATISTICS_BATCHES = 16
DRAWN_CLIPS, DRAWN_ROWS = 6, 8  # the longest clips of the first rows


class AutoencoderTask:
    """A `Task`; its frozen arrays are the PCA of training patches, which is baseline and starting
    point, and the weights of the perceptual features, if there are any.
    """

    def __init__(self, cfg: Config):
        self.cfg, self.channels = cfg.autoencoder, cfg.autoencoder.channels
        self.remat = cfg.compute.remat
        self.losses = Losses(cfg.losses, cfg.autoencoder.patch, cfg.compute)
        self.init_params, self.apply = make_autoencoder(cfg.autoencoder, cfg.compute)
        self._statistics_step = jax.jit(self._latents)
        self._draw_step = jax.jit(self.reconstruct)

    def make_frozen(self, batches):
        """PCA of the patches of the first training batches: mean, components, deviations."""
        count = max(self.cfg.pca_batches, 1)
        patches = ((to_pixels(b.tokens), b.segment_ids > 0) for b in batches)
        mean, covariance = pca.mean_and_covariance(itertools.islice(patches, count))
        components = pca.principal_components(mean, covariance, self.channels)
        return replicate({"pca": components, "features": self.losses.features})

    def digest(self, frozen):
        return ""

    def init(self, key, frozen):
        params = self.init_params(key)
        if self.cfg.pca_batches:
            params = with_linear_path(params, **frozen["pca"])
        if self.losses.cfg.network:
            params[NAME] = self.losses.init_discriminator(jax.random.fold_in(key, 1))
        return params

    def weights(self, batch):
        return token_weights(batch.segment_ids > 0, None, "token")

    def flops(self, clips, step):
        half = coder_flops(SIZES[self.cfg.size], self.cfg, clips).trained(self.remat)
        return half * 2 + self.losses.flops(clips, step)

    def loss(self, params, frozen, batch, weights, key, step):
        """The terms of tasks/losses.py and KL(posterior | N(0, 1)).

        The value leaves the adversarial term out, whose weight changes with the gradients.
        """
        crop_key, judge_key = (jax.random.fold_in(key, i) for i in (1, 2))
        coders = without_discriminator(params)
        if self.cfg.pca_batches:
            coders = with_frozen_linear_path(coders)
        place = cells(batch, self.cfg)
        pixels, mask = to_pixels(batch.tokens), pixel_mask(batch.positions, self.cfg.patch)
        target = Target(batch, place, pixels, mask, weights)
        output, kl = self._reconstruct_noisily(coders, target, key)

        # The terms are differentiated here, once: the adversary is to be balanced with them.
        still = jax.lax.stop_gradient(output)
        terms = jax.value_and_grad(self.losses.reconstruction, has_aux=True)
        (value, parts), gradient = terms(still, target, frozen["features"], crop_key)
        parts["kl"] = (weights * kl).sum()
        if self.losses.cfg.network:
            judge = jax.lax.stop_gradient(params[NAME])
            grads, pull, report = self.losses.adversary(
                judge, still, gradient, target, judge_key, step
            )
            value = with_gradients(value, params[NAME], grads)
            gradient, parts = gradient + pull, parts | report
        return with_gradients(value, output, gradient) + self.losses.cfg.kl * parts["kl"], parts

    def _reconstruct_noisily(self, coders, target: Target, key):
        """Pixels B L P decoded from a sample of the posterior, and its KL B L."""
        batch, sigma = target.batch, self.losses.cfg.latent_noise
        mean, log_variance = self.apply(coders, target.pixels, target.cells, method="encode")
        if sigma:
            log_variance = jnp.full_like(log_variance, 2 * math.log(sigma))
        ids = batch.sample_ids, batch.segment_ids, batch.positions
        latents = mean + jnp.exp(log_variance / 2) * token_noise(key, *ids, self.channels)
        kl = 0.5 * (jnp.square(mean) + jnp.exp(log_variance) - 1 - log_variance).sum(-1)
        return self.apply(coders, latents, target.cells, method="decode"), kl

    def encode(self, params, batch):
        """Posterior means B L C float32."""
        pixels, place = to_pixels(batch.tokens), cells(batch, self.cfg)
        return self.apply(params, pixels, place, method="encode")[0]

    def decode(self, params, latents, batch):
        """Pixels B L P float32 of latents B L C; of the batch it takes where they are."""
        return self.apply(params, latents, cells(batch, self.cfg), method="decode")

    def reconstruct(self, params, batch):
        """Decoded posterior means: B L P float32."""
        return self.decode(params, self.encode(params, batch), batch)

    def evaluate(self, params, frozen, batch, key):
        pixels, mask = to_pixels(batch.tokens), pixel_mask(batch.positions, self.cfg.patch)
        one_hot = segment_one_hot(batch)
        outputs = {
            "psnr": self.reconstruct(params, batch),
            "psnr_pca": pca.reconstruct(pixels, frozen["pca"]),
        }
        return {name: clip_psnr(pixels, output, mask, one_hot) for name, output in outputs.items()}

    def draw(self, params, frozen, batch, sampler):
        output = to_bytes(self._draw_step(params, batch))
        rows = min(DRAWN_ROWS, len(batch.tokens))
        fetch = lambda tree: jax.device_get(jax.tree.map(lambda x: first_rows(x, rows), tree))
        output, batch = fetch(output), fetch(batch)
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
        return self.encode(params, batch), batch.segment_ids > 0
