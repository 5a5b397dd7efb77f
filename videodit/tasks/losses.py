"""The terms of the autoencoder's loss.

  pixels        squared and absolute error of the pixels that exist
  pictures      distances of features and of their Gram matrices, of crops (models/perceptual.py)
  adversarial   hinge loss of a discriminator of spacetime patches (models/discriminator.py)

Each is a sum over tokens or clips whose weights add up to 1 over the global batch, and what it
says of a clip follows from this clip alone: the loss is the same in any pack, under gradient
accumulation and on any mesh.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

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
    feature_pairs,
    gram_distance,
    perceptual_distance,
    read_features,
)
from videodit.nn.layers import to_slots, to_tokens
from videodit.sharding import spec
from videodit.tasks.crops import crop, crop_one_hot, pictures

DISTANCES = {"perceptual": perceptual_distance, "gram": gram_distance}  # of pictures
CLIPS_AT_ONCE = 8  # whose pictures are in memory at one time
MOST = 1e4  # times that a clip's adversarial gradient is enlarged at most (VQGAN)


class Target(NamedTuple):
    """A batch that has been reconstructed, and what its reconstruction is compared with."""

    batch: PackedBatch
    cells: Cells
    pixels: jax.Array  # B L P in [-1, 1]
    mask: jax.Array  # B L P: 1 where a pixel exists
    weights: jax.Array  # B L


class Losses:
    """The configured terms. Raises ConfigError for pictures too small, and for a bad file."""

    def __init__(self, cfg: LossConfig, patch: tuple[int, int, int], compute: ComputeConfig):
        self.cfg, self.patch, self.features = cfg, patch, {}
        self.remat = compute.remat
        weights = {name: getattr(cfg, name) for name in DISTANCES}
        self.of_pictures = {name: weight for name, weight in weights.items() if weight}
        if self.of_pictures:
            side = cfg.crop * min(patch[1:])
            check(side >= MIN_SIDE, "losses.crop", cfg.crop, f"{MIN_SIDE} pixels, not {side}")
            self.features_name, self.features = read_features(cfg.perceptual_features)
        if cfg.network:
            self.init_discriminator, self.judge = make_discriminator(
                cfg.network, patch_values(patch), compute
            )

    def reconstruction(self, output, target: Target, features, key):
        """The sum of the pixels' and the pictures' terms, and each of them by name."""
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
        # It learns from originals and reconstructions, and now and then to be smooth.
        learns = StackRun(
            shape, clips.tokens, pairs, self.remat, times=2 + 2 / self.cfg.regularise_every
        )
        # It passes a gradient on to the reconstructions, and none to its own kernels.
        judges = StackRun(shape, clips.tokens, pairs, self.remat, backward=BACKWARD / 2)
        return [learns, judges]

    def adversary(self, params, output, gradient, target: Target, key, step):
        """What follows from a reconstruction `output` for the discriminator with `params`.

        `gradient`: B L P, of the terms above at the reconstruction. Returns the gradients of the
        discriminator's loss at `params`; the adversarial gradient B L P at the reconstruction,
        which is that of -D(output) with a norm of cfg.adversarial times that of `gradient` at each
        clip; and what to report. All are 0 before cfg.discriminator_start.
        """

        def learn():
            grads, loss = self._discriminator_gradients(params, output, target, key, step)
            fool = lambda x: -(target.weights * self._logits(params, x, target)).sum()
            fooled, pull = jax.value_and_grad(fool)(output)
            pull = self.cfg.adversarial * balance(pull, gradient, target)
            pull = jnp.where(step >= self.cfg.adversarial_start, pull, 0)
            return grads, pull, {"discriminator": loss, "adversarial": fooled}

        def rest():
            none = jnp.zeros(())
            zeros = jax.tree.map(jnp.zeros_like, (params, output))
            return *zeros, {"discriminator": none, "adversarial": none}

        return jax.lax.cond(step >= self.cfg.discriminator_start, learn, rest)

    def _picture_distances(self, output, target, features, key):
        """Those of `of_pictures`, weighted sums over the clips."""
        cfg, batch = self.cfg, target.batch
        one_hot = crop_one_hot(key, batch, target.cells, cfg.crop, cfg.crops)
        later = (batch.positions[..., 0] > 0).astype(jnp.float32)
        exists = crop(one_hot, jnp.stack([jnp.ones_like(later), later], axis=-1))
        real, fake = (crop(one_hot, x * target.mask) for x in (target.pixels, output))
        groups = batch.valid.shape[1] // math.gcd(batch.valid.shape[1], CLIPS_AT_ONCE)
        clips = _by_groups(self._clip_distances, groups, features, real, fake, exists)
        weights = to_slots(segment_one_hot(batch), target.weights[..., None])
        return (weights * clips).sum((0, 1))

    def _clip_distances(self, features, real, fake, exists):
        """Of M clips: cells N P of their crops; N 2: do they exist, and have all of their frames.

        Returns M n, means over the pixels that exist, 0 of a slot without a clip.
        """
        cfg, frames = self.cfg, self.patch[0]
        share = (exists[:, :1] + (frames - 1) * exists[:, 1:]) / frames
        share = share.reshape(-1, cfg.crop**2).mean(1, keepdims=True)  # of each crop
        pixels = [pictures(x, self.patch, cfg.crop) for x in (real, fake)]
        pairs = feature_pairs(features, *(x.reshape(-1, *x.shape[2:]) for x in pixels))
        values = [DISTANCES[name](features, pairs) for name in self.of_pictures]
        values = jnp.stack(values, axis=-1).reshape(len(share), frames, -1).mean(1)
        values = values / jnp.where(share > 0, share, 1)
        return values.reshape(-1, cfg.crops, len(self.of_pictures)).mean(1)

    def _logits(self, params, pixels, target):
        most = target.batch.valid.shape[1] + 1  # and the padding
        return self.judge(params, pixels * target.mask, target.cells, most=most)

    def _discriminator_gradients(self, params, output, target, key, step):
        """Of the hinge loss, which is returned too, and now and then of the roughness."""
        cfg = self.cfg

        def loss(params):
            real = self._logits(params, target.pixels, target)
            fake = self._logits(params, output, target)
            return (target.weights * hinge(real, fake)).sum()

        def roughness(params):
            return self._roughness(params, target, key)

        value, grads = jax.value_and_grad(loss)(params)
        rough = jax.lax.cond(
            step % cfg.regularise_every == 0,
            lambda: jax.grad(roughness)(params),
            lambda: jax.tree.map(jnp.zeros_like, params),
        )
        scale = cfg.regularise_every * cfg.regularisation
        return jax.tree.map(lambda a, b: a + scale * b, grads, rough), value

    def _roughness(self, params, target, key):
        """The approximate R1 of arXiv:2501.08316: (D(x) - D(x + s e))^2 at original pixels x."""
        batch, values = target.batch, target.pixels.shape[-1]
        noise = token_noise(key, batch.sample_ids, batch.segment_ids, batch.positions, values)
        near = target.pixels + self.cfg.regularisation_noise * noise
        change = self._logits(params, target.pixels, target) - self._logits(params, near, target)
        return (target.weights * jnp.square(change)).sum()


def balance(pull, gradient, target: Target):
    """`pull` (B L P) with the norm of `gradient` at each clip: EnCodec's balancer by clips.

    Of a clip and not of the batch (arXiv:2210.13438, equation 4), so that packing and gradient
    accumulation do not matter.
    """
    one_hot = segment_one_hot(target.batch)
    norms = [
        jnp.sqrt(to_slots(one_hot, jnp.square(x).sum(-1, keepdims=True))) for x in (gradient, pull)
    ]
    scale = jnp.minimum(norms[0] / jnp.maximum(norms[1], 1e-30), MOST)
    return pull * to_tokens(one_hot, scale)


def with_gradients(value, at, gradients):
    """`value` as it is, whose gradients at the arrays of the tree `at` are the ones given."""
    pairs = zip(jax.tree.leaves(at), jax.tree.leaves(jax.lax.stop_gradient(gradients)))
    product = sum((x * gradient).sum() for x, gradient in pairs)
    return value + (product - jax.lax.stop_gradient(product))


def _pixel_mean(error, target: Target):
    """Weighted sum over the tokens of the means over their pixels."""
    means = (error * target.mask).sum(-1) / target.mask.sum(-1)
    return (target.weights * means).sum()


def _by_groups(function, groups: int, shared, *arrays):
    """function(shared, *arrays of a part of a row), B M n of all rows in `groups` parts each.

    One part after the other on each device, recomputed in the backward pass, so that the pictures
    of one are in memory at one time. The last of the arrays says what exists: a part where it is 0
    costs nothing, and its values are 0.
    """

    def one(shared, *part):
        clips = jax.eval_shape(function, shared, *part).shape
        nothing = jnp.broadcast_to(part[-1].sum(), clips)  # which is 0
        return jax.lax.cond(part[-1].any(), function, lambda *_: nothing, shared, *part)

    def local(shared, *arrays):
        parts = [x.reshape(groups * len(x), -1, *x.shape[2:]) for x in arrays]
        found = jax.lax.map(jax.checkpoint(lambda part: one(shared, *part)), parts)
        return found.reshape(len(arrays[0]), -1, *found.shape[2:])

    if spec() is None:
        return local(shared, *arrays)
    rows = spec("batch")
    specs = (spec(), *(rows for _ in arrays))
    return jax.shard_map(local, in_specs=specs, out_specs=rows)(shared, *arrays)
