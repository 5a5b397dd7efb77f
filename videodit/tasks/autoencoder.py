"""Training the video autoencoder by the terms of tasks/losses.py and a small KL divergence."""

import itertools
import math
import os
from collections.abc import Iterable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from videodit.config import Config, ConfigError
from videodit.data.packing import PackedBatch, unpack
from videodit.data.tokenizer import Tokenizer
from videodit.diffusion.flow import token_noise, token_weights
from videodit.eval import pca
from videodit.eval.reconstruction import clip_psnr
from videodit.files import write_json
from videodit.flops import Clips, StackRun, chunk_pairs
from videodit.models import discriminator
from videodit.models.autoencoder import (
    SIZES,
    make_autoencoder,
    patch_values,
    pixel_mask,
    to_bytes,
    to_pixels,
    with_frozen_linear_path,
    with_linear_path,
)
from videodit.models.cells import cells, segment_one_hot
from videodit.models.codec import STATISTICS_FILE
from videodit.models.discriminator import NAME, without_discriminator
from videodit.models.sizes import named_size
from videodit.nn.block import StackShape
from videodit.parameters import ParameterGroup, Params, is_dense_kernel
from videodit.sharding import abstract_whole, first_rows, replicate
from videodit.tasks.losses import Losses, Target, with_gradients
from videodit.tasks.task import Arrays, Drawing, Sampler, Task

STATISTICS_BATCHES = 16
DRAWN_CLIPS, DRAWN_ROWS = 6, 8  # the 6 longest clips of the first 8 rows are drawn


class AutoencoderTask(Task):
    """The frozen arrays are the PCA of training patches, which is baseline and starting point, and
    the weights of the perceptual features, if there are any.
    """

    # The discriminator may start late and the linear path may be fixed to the PCA: neither decays.
    # The discriminator is not used after training, so it has no EMA.
    groups = (
        ParameterGroup(
            "discriminator",
            contains=lambda path: path[0] == NAME,
            decays=lambda path: False,
            averaged=False,
        ),
        ParameterGroup(
            "coders", decays=lambda path: is_dense_kernel(path) and "linear" not in path
        ),
    )

    def __init__(self, cfg: Config, tokenizer: Tokenizer | None = None) -> None:
        self.cfg, self.channels = cfg.autoencoder, cfg.autoencoder.channels
        self.remat = cfg.compute.remat
        self.losses = Losses(cfg.losses, cfg.autoencoder.patch, cfg.compute)
        self.init_params, self.apply = make_autoencoder(cfg.autoencoder, cfg.compute)
        self._statistics_step = jax.jit(self._latents)
        self._draw_step = jax.jit(self.reconstruct)

    @staticmethod
    def shapes(cfg: Config) -> tuple[StackShape, ...]:
        size = cfg.losses.network
        field, known = "losses.discriminator", discriminator.SIZES
        adversary = (named_size(field, size, known),) if size else ()
        return (named_size("autoencoder.size", cfg.autoencoder.size, SIZES), *adversary)

    def check_resume(self, trained: Config, workdir: str | os.PathLike) -> None:
        there, here = trained.losses.network, self.losses.cfg.network
        if there != here:
            raise ConfigError(
                f"losses.adversarial, losses.discriminator: the checkpoints in {workdir} are of "
                f"discriminator {there or 'none'!r}, not {here or 'none'!r}; "
                "init_from starts a new stage with another"
            )

    def make_frozen(self, batches: Iterable[PackedBatch]) -> Arrays:
        """PCA of the patches of the first training batches: mean, components, stds."""
        count = max(self.cfg.pca_batches, 1)
        patches = ((to_pixels(b.tokens), b.segment_ids > 0) for b in batches)
        mean, covariance = pca.mean_and_covariance(itertools.islice(patches, count))
        components = pca.principal_components(mean, covariance, self.channels)
        return replicate({"pca": components, "features": self.losses.features})

    def abstract_frozen(self) -> Arrays:
        values = patch_values(self.cfg.patch)
        components = {
            "mean": abstract_whole(values),
            "components": abstract_whole(values, self.channels),
            "stds": abstract_whole(self.channels),
        }
        features = {name: abstract_whole(*x.shape) for name, x in self.losses.features.items()}
        return {"pca": components, "features": features}

    def init(self, key: jax.Array, frozen: Arrays) -> Params:
        params = self.init_params(key)
        if self.cfg.pca_batches:
            params = with_linear_path(params, **frozen["pca"])
        if self.losses.cfg.network:
            params[NAME] = self.losses.init_discriminator(jax.random.fold_in(key, 1))
        return params

    def weights(self, batch: PackedBatch) -> jax.Array:
        return token_weights(batch.segment_ids > 0, None, "token")

    def stacks(self, clips: Clips, step: int) -> list[StackRun]:
        cfg, shape = self.cfg, SIZES[self.cfg.size]
        pairs = chunk_pairs(clips, cfg.chunk, cfg.window, shape.depth)
        # Encoder and decoder; attention is called twice a layer, for even and for odd chunks.
        coders = StackRun(shape, clips.tokens, pairs, self.remat, times=2, calls=2)
        return [coders, *self.losses.stacks(clips, step)]

    def loss(
        self,
        params: Params,
        frozen: Arrays,
        batch: PackedBatch,
        weights: jax.Array,
        key: jax.Array,
        step: jax.Array,
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The terms of tasks/losses.py and KL(posterior | N(0, 1)).

        The value leaves out the adversarial term, whose weight changes with the gradients.
        """
        crop_key, discriminator_key = (jax.random.fold_in(key, i) for i in (1, 2))
        coders = without_discriminator(params)
        if self.cfg.pca_batches:
            coders = with_frozen_linear_path(coders)
        place = cells(batch, self.cfg)
        pixels, mask = to_pixels(batch.tokens), pixel_mask(batch.positions, self.cfg.patch)
        target = Target(batch, place, pixels, mask, weights)
        output, kl = self._reconstruct_noisily(coders, target, key)

        # The terms are differentiated here, once: the adversarial gradient is balanced with them.
        still = jax.lax.stop_gradient(output)
        terms = jax.value_and_grad(self.losses.reconstruction, has_aux=True)
        (value, parts), gradient = terms(still, target, frozen["features"], crop_key)
        parts["kl"] = (weights * kl).sum()
        if self.losses.cfg.network:
            network = jax.lax.stop_gradient(params[NAME])
            grads, adversarial, report = self.losses.adversary(
                network, still, gradient, target, discriminator_key, step
            )
            value = with_gradients(value, params[NAME], grads)
            gradient, parts = gradient + adversarial, parts | report
        return with_gradients(value, output, gradient) + self.losses.cfg.kl * parts["kl"], parts

    def _reconstruct_noisily(
        self, coders: Params, target: Target, key: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Pixels B L P decoded from a sample of the posterior, and its KL B L."""
        batch, sigma = target.batch, self.losses.cfg.latent_noise
        mean, log_variance = self.apply(coders, target.pixels, target.cells, method="encode")
        if sigma:
            log_variance = jnp.full_like(log_variance, 2 * math.log(sigma))
        ids = batch.sample_ids, batch.segment_ids, batch.positions
        latents = mean + jnp.exp(log_variance / 2) * token_noise(key, *ids, self.channels)
        kl = 0.5 * (jnp.square(mean) + jnp.exp(log_variance) - 1 - log_variance).sum(-1)
        return self.apply(coders, latents, target.cells, method="decode"), kl

    def encode(self, params: Params, batch: PackedBatch) -> jax.Array:
        """Posterior means B L C float32."""
        pixels, place = to_pixels(batch.tokens), cells(batch, self.cfg)
        return self.apply(params, pixels, place, method="encode")[0]

    def decode(self, params: Params, latents: jax.Array, batch: PackedBatch) -> jax.Array:
        """Pixels B L P float32 of latents B L C; the batch says only where the tokens are."""
        return self.apply(params, latents, cells(batch, self.cfg), method="decode")

    def reconstruct(self, params: Params, batch: PackedBatch) -> jax.Array:
        """Decoded posterior means: B L P float32."""
        return self.decode(params, self.encode(params, batch), batch)

    def evaluate(
        self, params: Params, frozen: Arrays, batch: PackedBatch, key: jax.Array
    ) -> dict[str, jax.Array]:
        pixels, mask = to_pixels(batch.tokens), pixel_mask(batch.positions, self.cfg.patch)
        one_hot = segment_one_hot(batch)
        outputs = {
            "psnr": self.reconstruct(params, batch),
            "psnr_pca": pca.reconstruct(pixels, frozen["pca"]),
        }
        return {name: clip_psnr(pixels, output, mask, one_hot) for name, output in outputs.items()}

    def draw(
        self, params: Params, frozen: Arrays, batch: PackedBatch, sampler: Sampler | None = None
    ) -> list[Drawing]:
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

    def finish(
        self,
        params: Params,
        frozen: Arrays,
        batches: Iterable[PackedBatch],
        workdir: str | os.PathLike,
    ) -> None:
        """Writes latents.json: mean C and covariance C C of the latents of training clips."""
        latents = (
            self._statistics_step(params, batch)
            for batch in itertools.islice(batches, STATISTICS_BATCHES)
        )
        mean, covariance = pca.mean_and_covariance(latents)
        values = {"mean": mean.tolist(), "covariance": covariance.tolist()}
        if jax.process_index() == 0:
            write_json(Path(workdir) / STATISTICS_FILE, values)

    def _latents(self, params: Params, batch: PackedBatch) -> tuple[jax.Array, jax.Array]:
        return self.encode(params, batch), batch.segment_ids > 0
