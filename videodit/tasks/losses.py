"""The terms of the autoencoder's loss.

  pixels        squared and absolute error of the pixels that exist
  pictures      distances of features and of their Gram matrices, of crops (models/perceptual.py)
  adversarial   hinge loss of a discriminator of spacetime patches (models/discriminator.py)

Each is a sum over tokens or clips whose weights add up to 1 over the global batch, and the term of
a clip depends on this clip alone. So the loss is the same in any pack, under gradient accumulation
and on any mesh.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from videodit.config import ComputeConfig, LossConfig, check
from videodit.data.packing import PackedBatch
from videodit.diffusion.flow import token_noise
from videodit.flops import BACKWARD, Clips, StackRun, all_pairs
from videodit.models import discriminator
from videodit.models.autoencoder import Cells, patch_values
from videodit.models.cells import segment_one_hot
from videodit.models.discriminator import hinge, make_discriminator
from videodit.models.perceptual import (
    MIN_SIDE,
    Weights,
    feature_pairs,
    gram_distance,
    perceptual_distance,
    read_features,
)
from videodit.nn.layers import to_slots, to_tokens
from videodit.parameters import Params
from videodit.sharding import spec
from videodit.tasks.crops import crop, crop_one_hot, pictures

DISTANCES = {"perceptual": perceptual_distance, "gram": gram_distance}  # of pictures
CLIPS_AT_ONCE = 8  # their pictures are in memory at one time
MOST = 1e4  # factor by which a clip's adversarial gradient is enlarged at most (VQGAN)


class Target(NamedTuple):
    """What the reconstruction of a batch is compared with."""

    batch: PackedBatch
    cells: Cells
    pixels: jax.Array  # B L P in [-1, 1]
    mask: jax.Array  # B L P: 1 where a pixel exists
    weights: jax.Array  # B L


class Losses:
    """The configured terms. Raises ConfigError for pictures too small, and for a bad file."""

    def __init__(
        self, cfg: LossConfig, patch: tuple[int, int, int], compute: ComputeConfig
    ) -> None:
        self.cfg, self.patch = cfg, patch
        self.features: dict[str, np.ndarray] = {}
        self.remat = compute.remat
        weights = {name: getattr(cfg, name) for name in DISTANCES}
        self.of_pictures = {name: weight for name, weight in weights.items() if weight}
        if self.of_pictures:
            side = cfg.crop * min(patch[1:])
            check(side >= MIN_SIDE, "losses.crop", cfg.crop, f"{MIN_SIDE} pixels, not {side}")
            self.features_name, self.features = read_features(cfg.perceptual_features)
        if cfg.network:
            self.init_discriminator, self.discriminate = make_discriminator(
                cfg.network, patch_values(patch), compute
            )

    def reconstruction(
        self, output: jax.Array, target: Target, features: Weights, key: jax.Array
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The sum of the terms of pixels and pictures (a scalar), and each of them by name.

        output: B L P, the reconstruction; features: weights of the perceptual features.
        """
        cfg, difference = self.cfg, output - target.pixels
        parts = {"squared_error": _pixel_mean(jnp.square(difference), target)}
        total = cfg.squared * parts["squared_error"]
        if cfg.l1:
            parts["absolute_error"] = _pixel_mean(jnp.abs(difference), target)
            total += cfg.l1 * parts["absolute_error"]
        if self.of_pictures:
            found = self._picture_distances(output, target, features, key)
            for i, (name, weight) in enumerate(self.of_pictures.items()):
                parts[f"{name}_{self.features_name}"] = found[i]
                total += weight * found[i]
        return total, parts

    def stacks(self, clips: Clips, step: int) -> list[StackRun]:
        """How the training step after `step` steps runs the discriminator: not before it starts."""
        if not self.cfg.network or step < self.cfg.discriminator_start:
            return []
        shape, pairs = discriminator.SIZES[self.cfg.network], all_pairs(clips.tokens)
        # It is trained on originals and reconstructions, and at some steps by the roughness.
        learns = StackRun(
            shape, clips.tokens, pairs, self.remat, times=2 + 2 / self.cfg.regularise_every
        )
        # The adversarial gradient is computed at the pixels only, not at the kernels.
        adversarial = StackRun(shape, clips.tokens, pairs, self.remat, backward=BACKWARD / 2)
        return [learns, adversarial]

    def adversary(
        self,
        params: Params,
        output: jax.Array,
        gradient: jax.Array,
        target: Target,
        key: jax.Array,
        step: jax.Array,
    ) -> tuple[Params, jax.Array, dict[str, jax.Array]]:
        """The adversarial term of a reconstruction `output`, by the discriminator with `params`.

        `gradient`: B L P, of the terms above at the reconstruction. Returns the gradients of the
        discriminator's loss at `params`; the adversarial gradient B L P at the reconstruction,
        which is that of -D(output) with a norm of cfg.adversarial times that of `gradient` at each
        clip; and what to report. All are 0 before cfg.discriminator_start.
        """

        def learn() -> tuple[Params, jax.Array, dict[str, jax.Array]]:
            grads, loss = self._discriminator_gradients(params, output, target, key, step)
            fool = lambda x: -(target.weights * self._logits(params, x, target)).sum()
            fooled, adversarial = jax.value_and_grad(fool)(output)
            adversarial = self.cfg.adversarial * balance(adversarial, gradient, target)
            adversarial = jnp.where(step >= self.cfg.adversarial_start, adversarial, 0)
            return grads, adversarial, {"discriminator": loss, "adversarial": fooled}

        def rest() -> tuple[Params, jax.Array, dict[str, jax.Array]]:
            none = jnp.zeros(())
            zeros = jax.tree.map(jnp.zeros_like, (params, output))
            return *zeros, {"discriminator": none, "adversarial": none}

        return jax.lax.cond(step >= self.cfg.discriminator_start, learn, rest)

    def _picture_distances(
        self, output: jax.Array, target: Target, features: Weights, key: jax.Array
    ) -> jax.Array:
        """The distances of `of_pictures`, n, each a weighted sum over the clips."""
        cfg, batch = self.cfg, target.batch
        one_hot = crop_one_hot(key, batch, target.cells, cfg.crop, cfg.crops)
        later = (batch.positions[..., 0] > 0).astype(jnp.float32)
        exists = crop(one_hot, jnp.stack([jnp.ones_like(later), later], axis=-1))
        real, fake = (crop(one_hot, x * target.mask) for x in (target.pixels, output))
        groups = batch.valid.shape[1] // math.gcd(batch.valid.shape[1], CLIPS_AT_ONCE)
        clips = _by_groups(self._clip_distances, groups, features, real, fake, exists)
        weights = to_slots(segment_one_hot(batch), target.weights[..., None])
        return (weights * clips).sum((0, 1))

    def _clip_distances(
        self, features: Weights, real: jax.Array, fake: jax.Array, exists: jax.Array
    ) -> jax.Array:
        """Distances M n of M clips: means over the pixels that exist, 0 for a slot without a clip.

        real, fake: N P, the cells of their crops; exists: N 2, whether a cell exists, and whether
        it has all of its frames.
        """
        cfg, frames = self.cfg, self.patch[0]
        share = (exists[:, :1] + (frames - 1) * exists[:, 1:]) / frames
        share = share.reshape(-1, cfg.crop**2).mean(1, keepdims=True)  # of each crop
        pixels = [pictures(x, self.patch, cfg.crop) for x in (real, fake)]
        pairs = feature_pairs(features, *(x.reshape(-1, *x.shape[2:]) for x in pixels))
        distances = [DISTANCES[name](features, pairs) for name in self.of_pictures]
        values = jnp.stack(distances, axis=-1).reshape(len(share), frames, -1).mean(1)
        values = values / jnp.where(share > 0, share, 1)
        return values.reshape(-1, cfg.crops, len(self.of_pictures)).mean(1)

    def _logits(self, params: Params, pixels: jax.Array, target: Target) -> jax.Array:
        most = target.batch.valid.shape[1] + 1  # and the padding
        return self.discriminate(params, pixels * target.mask, target.cells, most=most)

    def _discriminator_gradients(
        self,
        params: Params,
        output: jax.Array,
        target: Target,
        key: jax.Array,
        step: jax.Array,
    ) -> tuple[Params, jax.Array]:
        """Gradients of the hinge loss, at some steps also of the roughness; and the hinge loss."""
        cfg = self.cfg

        def loss(params: Params) -> jax.Array:
            real = self._logits(params, target.pixels, target)
            fake = self._logits(params, output, target)
            return (target.weights * hinge(real, fake)).sum()

        def roughness(params: Params) -> jax.Array:
            return self._roughness(params, target, key)

        value, grads = jax.value_and_grad(loss)(params)
        rough = jax.lax.cond(
            step % cfg.regularise_every == 0,
            lambda: jax.grad(roughness)(params),
            lambda: jax.tree.map(jnp.zeros_like, params),
        )
        scale = cfg.regularise_every * cfg.regularisation
        return jax.tree.map(lambda a, b: a + scale * b, grads, rough), value

    def _roughness(self, params: Params, target: Target, key: jax.Array) -> jax.Array:
        """The approximate R1 of arXiv:2501.08316: (D(x) - D(x + s e))^2 at original pixels x."""
        batch, values = target.batch, target.pixels.shape[-1]
        noise = token_noise(key, batch.sample_ids, batch.segment_ids, batch.positions, values)
        near = target.pixels + self.cfg.regularisation_noise * noise
        change = self._logits(params, target.pixels, target) - self._logits(params, near, target)
        return (target.weights * jnp.square(change)).sum()


def balance(adversarial: jax.Array, gradient: jax.Array, target: Target) -> jax.Array:
    """The adversarial gradient B L P with the norm of `gradient` at each clip: EnCodec's balancer.

    The norms are those of clips, not of the batch as in arXiv:2210.13438, equation 4, so that
    packing and gradient accumulation do not matter.
    """
    one_hot = segment_one_hot(target.batch)
    norms = [
        jnp.sqrt(to_slots(one_hot, jnp.square(x).sum(-1, keepdims=True)))
        for x in (gradient, adversarial)
    ]
    scale = jnp.minimum(norms[0] / jnp.maximum(norms[1], 1e-30), MOST)
    return adversarial * to_tokens(one_hot, scale)


def with_gradients(value: jax.Array, at: Any, gradients: Any) -> jax.Array:
    """`value` unchanged, but with these gradients at the arrays of the tree `at`."""
    pairs = zip(jax.tree.leaves(at), jax.tree.leaves(jax.lax.stop_gradient(gradients)))
    product = sum((x * gradient).sum() for x, gradient in pairs)
    return value + (product - jax.lax.stop_gradient(product))


def _pixel_mean(error: jax.Array, target: Target) -> jax.Array:
    """Weighted sum over the tokens of the means over their pixels."""
    means = (error * target.mask).sum(-1) / target.mask.sum(-1)
    return (target.weights * means).sum()


def _by_groups(
    function: Callable[..., jax.Array], groups: int, shared: Any, *arrays: jax.Array
) -> jax.Array:
    """B M n: `function(shared, *arrays)` of all rows, called for each of `groups` parts of a row.

    Each device takes one part after the other and computes it again in the backward pass, so that
    the pictures of only one are in memory at a time. The last array says what exists: where all of
    it is 0 in a part, the part costs nothing and its values are 0.
    """

    def one(shared: Any, *part: jax.Array) -> jax.Array:
        clips = jax.eval_shape(function, shared, *part).shape
        nothing = jnp.broadcast_to(part[-1].sum(), clips)  # which is 0
        return jax.lax.cond(part[-1].any(), function, lambda *_: nothing, shared, *part)

    def local(shared: Any, *arrays: jax.Array) -> jax.Array:
        parts = [x.reshape(groups * len(x), -1, *x.shape[2:]) for x in arrays]
        found = jax.lax.map(jax.checkpoint(lambda part: one(shared, *part)), parts)
        return found.reshape(len(arrays[0]), -1, *found.shape[2:])

    if spec() is None:
        return local(shared, *arrays)
    rows = spec("batch")
    specs = (spec(), *(rows for _ in arrays))
    return jax.shard_map(local, in_specs=specs, out_specs=rows)(shared, *arrays)
