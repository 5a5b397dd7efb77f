"""Training a DiT, and with it the text encoder, by rectified flow in the latents of a codec.

Codec and text encoder are known by their protocols alone (models/protocols.py). The codec is
frozen; the text encoder is trained or frozen, as it says itself.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from videodit.config import RANDOM, Config, check
from videodit.data.packing import PackedBatch
from videodit.data.tokenizer import Tokenizer
from videodit.diffusion import flow
from videodit.diffusion.levels import clip_levels
from videodit.diffusion.samplers import Velocity
from videodit.flops import Clips, StackRun, all_pairs
from videodit.models import dit
from videodit.models.dit import make_dit
from videodit.models.protocols import Statistics
from videodit.models.registry import (
    codec_class,
    make_codec,
    make_text_encoder,
    text_encoder_class,
)
from videodit.models.sizes import named_size
from videodit.nn.block import StackShape
from videodit.nn.layers import to_tokens
from videodit.nn.segments import Segments
from videodit.parameters import Params
from videodit.sharding import abstract, abstract_whole, replicate
from videodit.tasks.measures import measures_at_levels
from videodit.tasks.task import Arrays, Drawing, Sampler, Task
from videodit.tasks.views import (
    clip_means,
    clip_segments,
    clip_tokens,
    encoder_segment_ids,
    noise_slots,
    rotate_captions,
    segment_one_hot,
    slot_levels,
    token_fractions,
    token_levels,
)


class Corruption(NamedTuple):
    """What is random in a loss: noise levels B M, noise B L C, dropped captions B M bool."""

    levels: jax.Array
    noise: jax.Array
    dropped: jax.Array


class Captions(NamedTuple):
    """The captions of a batch, as the text encoder has read them."""

    vectors: jax.Array  # B S E
    segment_ids: jax.Array  # B S int32, the clip that each vector belongs to; 0: none


class DiffusionTask(Task):
    """The frozen arrays are the codec, the statistics of its latents, and the text encoder unless
    it is trained.
    """

    def __init__(self, cfg: Config, tokenizer: Tokenizer) -> None:
        self.cfg, self.tokenizer = cfg, tokenizer
        self.codec = make_codec(cfg.autoencoder, cfg.compute)
        self.channels = self.codec.channels
        check(
            self.codec.packed or cfg.data.latents != "",
            "data.latents",
            cfg.data.latents,
            f"stored latents: autoencoder.kind={cfg.autoencoder.kind!r} encodes only whole clips",
        )
        self.text_encoder = make_text_encoder(cfg.text, tokenizer, cfg.compute)
        width = self.text_encoder.width
        expected = f"a text encoder whose width ({width}) is a multiple of {dit.POOL_HEADS}"
        check(width % dit.POOL_HEADS == 0, "text.kind", cfg.text.kind, expected)
        self.init_dit, self.apply_dit = make_dit(cfg.dit, self.channels, width, cfg.compute)

    @staticmethod
    def resolve(cfg: Config) -> Config:
        """`cfg` with what the codec and the text encoder that it names decide."""
        codec = codec_class(cfg.autoencoder).resolve(cfg.autoencoder)
        return replace(cfg, autoencoder=codec, text=text_encoder_class(cfg.text).resolve(cfg.text))

    @staticmethod
    def shapes(cfg: Config) -> tuple[StackShape, ...]:
        text = text_encoder_class(cfg.text).shapes(cfg.text)
        codec = codec_class(cfg.autoencoder).shapes(cfg.autoencoder)
        return (named_size("dit.size", cfg.dit.size, dit.SIZES), *text, *codec)

    def make_frozen(self, batches: Iterable[PackedBatch]) -> Arrays:
        """The trained codec, the `normalisation` of its latents, and a frozen text encoder.

        Raises ConfigError naming autoencoder.workdir if it holds no codec.
        """
        workdir, key = self.cfg.autoencoder.workdir, jax.random.key(self.cfg.seed)
        check(
            workdir != "",
            "autoencoder.workdir",
            workdir,
            f"the folder of a trained autoencoder, or {RANDOM!r} for a smoke run",
        )
        if workdir == RANDOM:
            params, spread = jax.jit(self.codec.init)(key), np.ones(self.channels)
            statistics = Statistics(np.zeros(self.channels), np.eye(self.channels))
        else:
            params, statistics = self.codec.read(), self.codec.statistics()
            spread = self.codec.spread(params)
        arrays = replicate(normalisation(statistics, spread, self.cfg.flow.latent_power))
        text = {} if self.text_encoder.trained else {"text": self.text_encoder.read()}
        return {"autoencoder": params, **arrays, **text}

    def abstract_frozen(self) -> Arrays:
        statistics = {
            "mean": abstract_whole(self.channels),
            "scale": abstract_whole(self.channels),
            "variances": abstract_whole(self.channels),
            "vectors": abstract_whole(self.channels, self.channels),
        }
        key = jax.eval_shape(lambda: jax.random.key(0))
        parts = {"autoencoder": abstract(self.codec.init, key), **statistics}
        if not self.text_encoder.trained:
            parts["text"] = abstract(self.text_encoder.init, key)
        return parts

    def digests(self, frozen: Arrays) -> dict[str, str]:
        """The digests of the text encoder and, unless it is random, of the codec."""
        digests = {"text": self.text_encoder.digest(frozen.get("text", {}))}
        if self.cfg.autoencoder.workdir != RANDOM:
            digests["autoencoder"] = self.codec.digest(frozen["autoencoder"])
        return digests

    def init(self, key: jax.Array, frozen: Arrays) -> Params:
        text_key, dit_key = jax.random.split(key)
        text = {"text": self.text_encoder.init(text_key)} if self.text_encoder.trained else {}
        return {**text, "dit": self.init_dit(dit_key)}

    def weights(self, batch: PackedBatch) -> jax.Array:
        one_hot = segment_one_hot(batch)
        wanted = (batch.segment_ids > 0) & ~batch.given
        return flow.token_weights(wanted, one_hot, self.cfg.flow.loss_per)

    def stacks(self, clips: Clips, step: int) -> list[StackRun]:
        """As `Task` says; a little too many for clips whose given tokens are encoded apart."""
        cfg, remat, tokens, text = self.cfg, self.cfg.compute.remat, clips.tokens, clips.text
        shape, width = dit.SIZES[cfg.dit.size], self.text_encoder.width
        runs = [
            StackRun(shape, tokens, all_pairs(tokens), remat, text=text, text_width=width),
            *self.text_encoder.stacks(text, remat),
        ]
        return runs if cfg.data.latents else [*runs, *self.codec.stacks(clips, remat)]

    def loss(
        self,
        params: Params,
        frozen: Arrays,
        batch: PackedBatch,
        weights: jax.Array,
        key: jax.Array,
        step: jax.Array,
        draws: Corruption | None = None,
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Weighted squared error of the velocity; level and noise from `key` unless given."""
        draws = self.draw_corruption(key, batch) if draws is None else draws
        latents = jax.lax.stop_gradient(self.encode(frozen, batch))
        params = self._with_text(params, frozen)
        loss = (weights * self.token_error(params, frozen, latents, batch, draws)).sum()
        return loss, {}

    def draw_corruption(self, key: jax.Array, batch: PackedBatch) -> Corruption:
        """Levels, noise and dropped captions, functions of (key, sample id, token position)."""
        level_key, noise_key, caption_key = jax.random.split(key, 3)
        ids, cfg = batch.sample_ids, self.cfg.flow
        return Corruption(
            clip_levels(level_key, ids, clip_tokens(batch), cfg),
            flow.token_noise(noise_key, ids, batch.segment_ids, batch.positions, self.channels),
            flow.dropped_captions(caption_key, ids, cfg.caption_dropout),
        )

    def encode(self, frozen: Arrays, batch: PackedBatch) -> jax.Array:
        """Normalised latents B L C of the packed pixels, or of stored latents.

        The latents of given tokens do not depend on what is to be generated: given tokens in whole
        chunks at the beginning cannot see it, as codecs are causal, and others are encoded apart.
        """
        mean = batch.tokens
        if mean.dtype == jnp.uint8:
            segment_ids = encoder_segment_ids(batch, self.cfg.autoencoder)
            mean = self.codec.encode(frozen["autoencoder"], batch, segment_ids)
        return (mean - frozen["mean"]) / frozen["scale"]

    def decode(self, frozen: Arrays, latents: jax.Array, batch: PackedBatch) -> jax.Array:
        """The inverse of `encode`: pixels B L P in about [-1, 1], of a packed codec."""
        latents = self.denormalise(frozen, latents)
        return self.codec.decode(frozen["autoencoder"], latents, batch)

    def denormalise(self, frozen: Arrays, latents: jax.Array) -> jax.Array:
        """Latents B L C as the codec has them, of normalised ones."""
        return latents * frozen["scale"] + frozen["mean"]

    def _with_text(self, params: Params, frozen: Arrays) -> Params:
        """The parameters with those of a frozen text encoder."""
        return params if self.text_encoder.trained else {**params, "text": frozen["text"]}

    def token_error(
        self,
        params: Params,
        frozen: Arrays,
        latents: jax.Array,
        batch: PackedBatch,
        draws: Corruption,
    ) -> jax.Array:
        """Squared error of the predicted velocity at each token, mean over channels: B L."""
        captions = self.read_captions(params, batch, draws.dropped)
        return self._error(params, frozen, latents, batch, draws.levels, draws.noise, captions)

    def _error(
        self,
        params: Params,
        frozen: Arrays,
        latents: jax.Array,
        batch: PackedBatch,
        levels: jax.Array,
        noise: jax.Array,
        captions: Captions,
    ) -> jax.Array:
        """The same at clips' levels B M, with captions that have been read."""
        levels = slot_levels(batch, levels)
        xt = flow.interpolate(latents, noise, token_levels(batch, levels))
        predicted = self.predict(params, frozen, batch, xt, levels, captions)
        return jnp.square(predicted - flow.velocity(latents, noise)).mean(-1)

    def read_captions(self, params: Params, batch: PackedBatch, dropped: jax.Array) -> Captions:
        """The vectors of the captions, where `dropped` is B M bool.

        A dropped caption keeps its first token alone: BOS or, if the tokenizer has none, the EOS
        that the empty text is encoded as.
        """
        one_hot = jax.nn.one_hot(batch.text_segment_ids - 1, dropped.shape[1])
        gone = to_tokens(one_hot, dropped[..., None].astype(jnp.float32))[..., 0] > 0.5
        cut = gone & (batch.text_positions > 0)
        captions, ids = dropped.shape[1], batch.text_segment_ids
        # What is cut gets segments of its own. As padding, it would be in pieces all over the row.
        apart = jnp.where(cut, captions + ids, ids)
        segments, tokenizer = Segments(apart, most=2 * captions + 1), self.tokenizer
        tokens = batch.text_ids
        if tokenizer.bos is None:
            tokens = jnp.where(gone & ~cut, tokenizer.eos, tokens)
        text = self.text_encoder.encode(params["text"], tokens, batch.text_positions, segments)
        return Captions(text, jnp.where(cut, 0, ids))

    def predict(
        self,
        params: Params,
        frozen: Arrays,
        batch: PackedBatch,
        xt: jax.Array,
        levels: jax.Array,
        captions: Captions,
    ) -> jax.Array:
        """The velocity B L C at noisy latents xt B L C and slot levels B K.

        It is the best linear predictor's plus what the DiT makes of the row and its captions.
        """
        learned = self.apply_dit(
            params["dit"],
            xt,
            noise_slots(batch, levels),
            batch.positions,
            token_fractions(batch),
            clip_segments(batch),
            captions.vectors,
            captions.segment_ids,
        )
        return self._linear(frozen, xt, token_levels(batch, levels)) + learned

    def _linear(self, frozen: Arrays, xt: jax.Array, level: jax.Array) -> jax.Array:
        return flow.linear_velocity(xt, level, frozen["variances"], frozen["vectors"])

    def velocity(
        self, params: Params, frozen: Arrays, batch: PackedBatch, dropped: jax.Array
    ) -> Velocity:
        """The velocity that a solver integrates; clips in `dropped` (B M bool) have no caption."""
        params = self._with_text(params, frozen)
        captions = self.read_captions(params, batch, dropped)
        return lambda x, levels: self.predict(params, frozen, batch, x, levels, captions)

    def evaluate(
        self, params: Params, frozen: Arrays, batch: PackedBatch, key: jax.Array
    ) -> dict[str, jax.Array]:
        """Measures of each clip, B M, at the levels that are trained: the loss with its caption,
        its gain over another clip's, and the linear predictor's loss.
        """
        latents, draws = self.encode(frozen, batch), self.draw_corruption(key, batch)
        loss = self._loss_by_caption(params, frozen, batch, latents, draws.noise)
        level = token_levels(batch, slot_levels(batch, draws.levels))
        xt = flow.interpolate(latents, draws.noise, level)
        missed = self._linear(frozen, xt, level) - flow.velocity(latents, draws.noise)
        own, other = (loss(draws.levels, by) for by in (0, 1))
        return {
            "loss": own,
            "loss_linear": clip_means(batch, jnp.square(missed).mean(-1)),
            "caption_gain": other - own,
        }

    def inspect(
        self, params: Params, frozen: Arrays, batch: PackedBatch, key: jax.Array
    ) -> dict[str, jax.Array]:
        """The measures of tasks/measures.py: some 30 forward passes."""
        latents, draws = self.encode(frozen, batch), self.draw_corruption(key, batch)
        loss = self._loss_by_caption(params, frozen, batch, latents, draws.noise)
        return measures_at_levels(batch, loss)

    def _loss_by_caption(
        self,
        params: Params,
        frozen: Arrays,
        batch: PackedBatch,
        latents: jax.Array,
        noise: jax.Array,
    ) -> Callable[[jax.Array, int | jax.Array], jax.Array]:
        """loss(levels, by): losses B M at levels B M of clips which have the caption of the clip
        `by` places before them in their row.
        """
        params = self._with_text(params, frozen)
        captions = self.read_captions(params, batch, jnp.zeros_like(batch.valid))

        def loss(levels: jax.Array, by: int | jax.Array) -> jax.Array:
            ids = rotate_captions(batch.valid, captions.segment_ids, by)
            rotated = captions._replace(segment_ids=ids)
            arguments = (levels, noise, rotated)
            return clip_means(batch, self._error(params, frozen, latents, batch, *arguments))

        return loss

    def draw(
        self, params: Params, frozen: Arrays, batch: PackedBatch, sampler: Sampler | None = None
    ) -> list[Drawing]:
        """Samples of the configured prompts, seeded 0, 1, ..."""
        return sampler.drawings() if sampler else []


def normalisation(
    statistics: Statistics, spread: np.ndarray, power: float
) -> dict[str, np.ndarray]:
    """How latents become what the DiT sees, float32: mean C and scale C; and the eigenvalues C and
    eigenvectors C C of their covariance then, for flow.linear_velocity.

    A channel's deviation is then its deviation in pixels, which `spread` (C) times its own is, to
    `power`; the mean square of all channels' is 1.
    """
    deviations = np.sqrt(np.diag(statistics.covariance))
    wanted = (spread * deviations) ** power
    scale = deviations / (wanted / np.sqrt(np.mean(wanted**2)))
    variances, vectors = np.linalg.eigh(statistics.covariance / np.outer(scale, scale))
    arrays = {
        "mean": statistics.mean,
        "scale": scale,
        "variances": np.maximum(variances, 0),
        "vectors": vectors,
    }
    return {name: array.astype(np.float32) for name, array in arrays.items()}
