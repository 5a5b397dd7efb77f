"""Training text encoder and DiT by rectified flow in the latents of a frozen autoencoder."""

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from videodit.checkpoint import read_config, restore_ema
from videodit.config import RANDOM, Config, ConfigError, check
from videodit.data.packing import PackedBatch
from videodit.data.tokenizer import Tokenizer
from videodit.diffusion import flow
from videodit.diffusion.samplers import Velocity
from videodit.eval.linear import best_linear_velocity
from videodit.flops import Clips, StackRun, all_pairs, chunk_pairs
from videodit.models import autoencoder, dit
from videodit.models import text as text_encoder
from videodit.models.autoencoder import encoder_digest, make_autoencoder, to_pixels
from videodit.models.dit import make_dit
from videodit.models.text import make_text_encoder, text_width
from videodit.nn.block import StackShape
from videodit.nn.layers import to_tokens
from videodit.nn.segments import Segments
from videodit.parameters import Params
from videodit.sharding import abstract, abstract_whole, replicate
from videodit.tasks.autoencoder import STATISTICS_FILE
from videodit.tasks.task import Arrays, Drawing, Sampler, Task
from videodit.tasks.views import (
    cells,
    clip_means,
    clip_segments,
    clip_tokens,
    encoder_segment_ids,
    noise_slots,
    segment_one_hot,
    shuffle_captions,
    slot_levels,
    token_levels,
)


class Corruption(NamedTuple):
    """What is random in a loss: noise levels B M, noise B L C, dropped captions B M bool."""

    levels: jax.Array
    noise: jax.Array
    dropped: jax.Array


class DiffusionTask(Task):
    """The frozen arrays are the autoencoder and the statistics of its latents."""

    def __init__(self, cfg: Config, tokenizer: Tokenizer) -> None:
        self.cfg, self.tokenizer, self.channels = cfg, tokenizer, cfg.autoencoder.channels
        self.init_autoencoder, self.apply_autoencoder = make_autoencoder(
            cfg.autoencoder, cfg.compute
        )
        self.init_text, self.apply_text = make_text_encoder(
            cfg.text, tokenizer.vocab_size, cfg.compute
        )
        self.init_dit, self.apply_dit = make_dit(
            cfg.dit, self.channels, text_width(cfg.text), cfg.compute
        )

    @staticmethod
    def resolve(cfg: Config) -> Config:
        """`cfg` with the shape of the trained autoencoder that it names."""
        workdir = cfg.autoencoder.workdir
        if workdir in ("", RANDOM):
            return cfg
        trained = read_config(workdir, "autoencoder.workdir").autoencoder
        return replace(cfg, autoencoder=replace(trained, workdir=workdir))

    @staticmethod
    def shapes(cfg: Config) -> tuple[StackShape, ...]:
        return (
            dit.SIZES[cfg.dit.size],
            text_encoder.SIZES[cfg.text.size],
            autoencoder.SIZES[cfg.autoencoder.size],
        )

    def make_frozen(self, batches: Iterable[PackedBatch]) -> Arrays:
        """The trained autoencoder's averaged weights, and mean, deviation, correlation of latents.

        Raises ConfigError naming autoencoder.workdir if there is none.
        """
        workdir, key = self.cfg.autoencoder.workdir, jax.random.key(self.cfg.seed)
        check(
            workdir != "",
            "autoencoder.workdir",
            workdir,
            f"the folder of a trained autoencoder, or {RANDOM!r} for a smoke run",
        )
        if workdir == RANDOM:
            params = jax.jit(self.init_autoencoder)(key)
            mean, covariance = np.zeros(self.channels), np.eye(self.channels)
        else:
            target = abstract(self.init_autoencoder, key)
            params = restore_ema(workdir, target, "autoencoder.workdir")
            mean, covariance = _read_statistics(workdir)
        deviation = np.sqrt(np.diag(covariance))
        arrays = {
            "mean": mean,
            "deviation": deviation,
            "correlation": covariance / np.outer(deviation, deviation),
        }
        arrays = {name: array.astype(np.float32) for name, array in arrays.items()}
        return {"autoencoder": params, **replicate(arrays)}

    def abstract_frozen(self) -> Arrays:
        statistics = {
            "mean": abstract_whole(self.channels),
            "deviation": abstract_whole(self.channels),
            "correlation": abstract_whole(self.channels, self.channels),
        }
        key = jax.eval_shape(lambda: jax.random.key(0))
        return {"autoencoder": abstract(self.init_autoencoder, key), **statistics}

    def digests(self, frozen: Arrays) -> dict[str, str]:
        """That of the encoder, in whose latents the DiT is trained; another decoder may follow."""
        if self.cfg.autoencoder.workdir == RANDOM:
            return {}
        return {"autoencoder": encoder_digest(frozen["autoencoder"])}

    def init(self, key, frozen):
        text_key, dit_key = jax.random.split(key)
        return {"text": self.init_text(text_key), "dit": self.init_dit(dit_key)}

    def weights(self, batch):
        one_hot = segment_one_hot(batch)
        wanted = (batch.segment_ids > 0) & ~batch.given
        return flow.token_weights(wanted, one_hot, self.cfg.flow.loss_per)

    def stacks(self, clips: Clips, step: int) -> list[StackRun]:
        """As `Task` says; a little too many for clips whose given tokens are encoded apart."""
        cfg, remat, tokens, text = self.cfg, self.cfg.compute.remat, clips.tokens, clips.text
        trained, texts, encoder = self.shapes(cfg)
        width = text_width(cfg.text)
        runs = [
            StackRun(trained, tokens, all_pairs(tokens), remat, text=text, text_width=width),
            StackRun(texts, text, all_pairs(text), remat),
        ]
        if cfg.data.latents:
            return runs
        ae = cfg.autoencoder
        pairs = chunk_pairs(clips, ae.chunk, ae.window, encoder.depth)
        return [*runs, StackRun(encoder, tokens, pairs, remat, backward=0, calls=2)]

    def loss(self, params, frozen, batch, weights, key, step, draws: Corruption | None = None):
        """Weighted squared error of the velocity; level and noise from `key` unless given."""
        draws = self.draw_corruption(key, batch) if draws is None else draws
        latents = jax.lax.stop_gradient(self.encode(frozen, batch))
        loss = (weights * self.token_error(params, latents, batch, draws)).sum()
        return loss, {}

    def draw_corruption(self, key, batch) -> Corruption:
        """Levels, noise and dropped captions, functions of (key, sample id, token position)."""
        level_key, noise_key, caption_key = jax.random.split(key, 3)
        ids, cfg = batch.sample_ids, self.cfg.flow
        return Corruption(
            flow.clip_levels(level_key, ids, clip_tokens(batch), cfg),
            flow.token_noise(noise_key, ids, batch.segment_ids, batch.positions, self.channels),
            flow.dropped_captions(caption_key, ids, cfg.caption_dropout),
        )

    def encode(self, frozen, batch):
        """Standardised latents B L C of the packed pixels (posterior means), or of stored latents.

        Nothing of what is to be generated reaches the given tokens of a clip. Those that come
        first, in whole chunks, are safe from it by causality; any others are encoded apart.
        """
        mean = batch.tokens
        if mean.dtype == jnp.uint8:
            segment_ids = encoder_segment_ids(batch, self.cfg.autoencoder)
            mean, _ = self.apply_autoencoder(
                frozen["autoencoder"],
                to_pixels(batch.tokens),
                cells(batch, self.cfg.autoencoder, segment_ids),
                method="encode",
            )
        return (mean - frozen["mean"]) / frozen["deviation"]

    def decode(self, frozen, latents, batch):
        """The inverse: pixels B L P in about [-1, 1]."""
        latents = latents * frozen["deviation"] + frozen["mean"]
        place = cells(batch, self.cfg.autoencoder)
        return self.apply_autoencoder(frozen["autoencoder"], latents, place, method="decode")

    def token_error(self, params, latents, batch, draws: Corruption):
        """Squared error of the predicted velocity at each token, mean over channels: B L."""
        levels = slot_levels(batch, draws.levels)
        xt = flow.interpolate(latents, draws.noise, token_levels(batch, levels))
        text, text_segment_ids = self.read_captions(params, batch, draws.dropped)
        predicted = self.predict(params, batch, xt, levels, text, text_segment_ids)
        return jnp.square(predicted - flow.velocity(latents, draws.noise)).mean(-1)

    def read_captions(self, params, batch, dropped):
        """Text vectors B S E and their segment ids; a dropped caption keeps only BOS."""
        one_hot = jax.nn.one_hot(batch.text_segment_ids - 1, dropped.shape[1])
        gone = to_tokens(one_hot, dropped[..., None].astype(jnp.float32))[..., 0] > 0.5
        cut = gone & (batch.text_positions > 0)
        captions, ids = dropped.shape[1], batch.text_segment_ids
        # Segments of their own, and not padding, whose pieces would lie all over the row.
        apart = jnp.where(cut, captions + ids, ids)
        segments = Segments(apart, most=2 * captions + 1)
        text = self.apply_text(params["text"], batch.text_ids, batch.text_positions, segments)
        return text, jnp.where(cut, 0, ids)

    def predict(self, params, batch, xt, levels, text, text_segment_ids):
        """The velocity B L C at noisy latents xt B L C and slot levels B K.

        It is the velocity of white latents plus what the DiT makes of the row and its captions.
        """
        learned = self.apply_dit(
            params["dit"],
            xt,
            noise_slots(batch, levels),
            batch.positions,
            clip_segments(batch),
            text,
            text_segment_ids,
        )
        return flow.linear_velocity(xt, token_levels(batch, levels)) + learned

    def velocity(self, params, batch, dropped) -> Velocity:
        """The velocity that a solver integrates; clips in `dropped` (B M bool) have no caption."""
        text, text_segment_ids = self.read_captions(params, batch, dropped)
        return lambda x, levels: self.predict(params, batch, x, levels, text, text_segment_ids)

    def evaluate(self, params, frozen, batch, key):
        """Loss of each clip with its caption, with another clip's, and of the linear predictor."""
        latents, draws = self.encode(frozen, batch), self.draw_corruption(key, batch)
        draws = draws._replace(dropped=jnp.zeros_like(batch.valid))
        per_clip = lambda error: clip_means(batch, error)
        loss = per_clip(self.token_error(params, latents, batch, draws))
        shuffled = per_clip(self.token_error(params, latents, shuffle_captions(batch), draws))
        level = token_levels(batch, slot_levels(batch, draws.levels))
        xt = flow.interpolate(latents, draws.noise, level)
        target = flow.velocity(latents, draws.noise)
        linear = jnp.square(best_linear_velocity(xt, level, frozen["correlation"]) - target).mean(
            -1
        )
        return {
            "loss": loss,
            "loss_shuffled_captions": shuffled,
            "loss_linear": per_clip(linear),
            "caption_gain": shuffled - loss,
        }

    def draw(
        self, params: Params, frozen: Arrays, batch: PackedBatch, sampler: Sampler | None
    ) -> list[Drawing]:
        """Samples of the configured prompts, seeded 0, 1, ..."""
        return sampler.drawings() if sampler else []


def _read_statistics(workdir: str):
    path = Path(workdir) / STATISTICS_FILE
    if not path.is_file():
        raise ConfigError(
            f"autoencoder.workdir={workdir!r}: {path.name} is missing: "
            "its training has not reached the last step"
        )
    values = json.loads(path.read_text())
    return np.array(values["mean"]), np.array(values["covariance"])
