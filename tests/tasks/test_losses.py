"""The terms of the autoencoder's loss: exact in packs and micro-batches, balanced by clips."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from packs import clip, distance, pack, perturb, tiny_config

from videodit.config import ConfigError, LossConfig
from videodit.flops import Clips, stack_flops
from videodit.models import discriminator
from videodit.models.autoencoder import pixel_mask, to_pixels
from videodit.models.cells import cells
from videodit.models.discriminator import without_discriminator
from videodit.sharding import replicate
from videodit.step import make_init, make_train_step
from videodit.tasks.autoencoder import AutoencoderTask
from videodit.tasks.losses import Losses, Target, balance, with_gradients

KEY = jax.random.key(3)
ALL = {
    "losses__l1": 1.0,
    "losses__perceptual": 1.0,
    "losses__gram": 1.0,
    "losses__latent_noise": 0.1,
    "losses__adversarial": 0.5,
    "losses__crops": 2,
}
LATER = {"losses__discriminator_start": 5, "losses__adversarial_start": 9}
TERMS = {
    "squared_error",
    "absolute_error",
    "perceptual_multiscale",
    "gram_multiscale",
    "kl",
    "adversarial",
    "discriminator",
}


def make(**changes):
    task = AutoencoderTask(tiny_config("autoencoder", **(ALL | changes)))
    frozen = task.make_frozen([pack([[clip(i), clip(i + 1)] for i in range(4)])])
    return task, perturb(jax.jit(task.init)(jax.random.key(0), frozen)), frozen


def step_of(task, params, frozen):
    """(batch, step) -> (loss, terms), gradients."""

    def loss(params, frozen, batch, step):
        return task.loss(params, frozen, batch, task.weights(batch), KEY, step)

    gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))
    return lambda batch, step: gradient(params, frozen, batch, step)


def target_of(batch, cfg):
    weights = (batch.segment_ids > 0) / (batch.segment_ids > 0).sum()
    mask = pixel_mask(batch.positions, cfg.patch)
    return Target(batch, cells(batch, cfg), to_pixels(batch.tokens), mask, weights)


def test_packed_equals_each_clip_alone_and_terms_start_at_their_steps():
    s = [clip(i) for i in range(5)]
    packed = pack([[s[3], s[0], s[1]], [s[4], s[2]], [], [], []])
    alone = pack([[x] for x in s])
    with jax.default_matmul_precision("highest"):
        run = step_of(*make(losses__discriminator_start=1, losses__adversarial_start=2))
        at = [run(packed, step) for step in (0, 1, 2)]
        apart = run(alone, 2)
    (_, terms), gradients = at[2]
    assert set(terms) == TERMS and np.isfinite(list(terms.values())).all()
    assert distance(at[2][0], apart[0]) < 1e-5
    assert distance(without_discriminator(gradients), without_discriminator(apart[1])) < 1e-4
    assert distance(*(g["discriminator"]["stack"] for g in (gradients, apart[1]))) < 1e-4

    norms = [
        (optax.tree.norm(g["discriminator"]), optax.tree.norm(without_discriminator(g)))
        for _, g in at
    ]
    assert norms[0][0] == 0 < norms[1][0] == norms[2][0]
    assert at[0][0][1]["discriminator"] == 0 < at[1][0][1]["discriminator"]
    assert norms[0][1] == norms[1][1] != norms[2][1]
    assert at[0][0][0] == at[2][0][0]  # the value is that of the other terms


@pytest.mark.slow
def test_meshes_and_micro_batches_make_no_difference(mesh):
    clips = [clip(i)._replace(sample_id=50 + i) for i in range(6)]
    rows = [clips[:2], [clips[2]], clips[3:5], [clips[5]]]

    def one_step(accumulate, pca=None):
        task, _, frozen = make(losses__regularise_every=1)
        frozen = frozen if pca is None else replicate(pca)
        optimizer = optax.sgd(1.0)
        state = jax.jit(make_init(task, optimizer))(jax.random.key(0), frozen)
        state["params"] = perturb(state["params"])
        before = jax.device_get(state["params"])
        optim = dataclasses.replace(tiny_config().optim, accumulate=accumulate)
        step = make_train_step(task, optimizer, optax.constant_schedule(1.0), optim)
        state, metrics = step(state, frozen, pack(rows), KEY)
        after = jax.device_get(state["params"])
        metrics = {name: float(metrics[name]) for name in TERMS | {"loss"}}
        return jax.device_get(frozen), metrics, jax.tree.map(np.subtract, before, after)

    with jax.default_matmul_precision("highest"):
        pca, metrics, gradients = one_step(1)
        with mesh(2, 1, 2, 2):
            _, spread, elsewhere = one_step(2, pca)
    assert spread == pytest.approx(metrics, rel=1e-4)
    assert distance(gradients, elsewhere) < 1e-3


def test_the_adversarial_gradient_is_balanced_at_each_clip():
    cfg = tiny_config("autoencoder").autoencoder
    target = target_of(pack([[clip(0), clip(1)], [clip(2)]]), cfg)
    rng = np.random.default_rng(0)
    pull, gradient = (rng.normal(size=target.pixels.shape).astype(np.float32) for _ in range(2))
    pull, gradient = pull * target.mask, gradient * target.mask * 1e-3
    got = np.asarray(balance(pull, gradient, target))
    segment_ids = np.asarray(target.batch.segment_ids)
    for b, m in ((0, 1), (0, 2), (1, 1)):
        here = segment_ids[b] == m
        norms = [np.linalg.norm(x[b, here]) for x in (got, gradient, pull)]
        assert norms[0] == pytest.approx(norms[1], rel=1e-4)
        direction = got[b, here] / norms[0], pull[b, here] / norms[2]
        np.testing.assert_allclose(*direction, atol=1e-6)
    assert np.isfinite(np.asarray(balance(0 * pull, gradient, target))).all()


def test_pixels_that_do_not_exist_do_not_matter():
    task, params, frozen = make()
    batch = pack([[clip(0), clip(1)], [clip(2)]])
    target = target_of(batch, task.cfg)
    noise = jax.random.normal(jax.random.key(1), target.pixels.shape)
    near = target.pixels + 0.1 * noise

    @jax.jit
    def terms(output):
        value, parts = task.losses.reconstruction(output, target, frozen["features"], KEY)
        grads, pull, report = task.losses.adversary(
            params["discriminator"], output, output - target.pixels, target, KEY, 0
        )
        return value, parts, grads, report, pull * (1 - target.mask)

    a, b = terms(near), terms(near + 7 * (1 - target.mask))
    jax.tree.map(np.testing.assert_array_equal, a[:4], b[:4])
    assert not np.asarray(a[4]).any()
    perfect = terms(target.pixels)
    assert perfect[0] == 0


def linear_discriminator(**changes):
    """Losses whose discriminator is D(x) = w . x, and the config they are of."""
    cfg = LossConfig(adversarial=1.0, discriminator="smoke", **changes)
    task = tiny_config("autoencoder")
    losses = Losses(cfg, task.autoencoder.patch, task.compute)
    losses.discriminate = lambda w, pixels, cells, **_: pixels @ w
    return losses, task.autoencoder


def test_the_discriminator_tells_originals_and_the_autoencoder_deceives_it():
    """D(x) = w . x within the hinge's margins: the gradients are (fake - real) / 2 and -w."""
    losses, cfg = linear_discriminator()
    target = target_of(pack([[clip(0), clip(1)], [clip(2)]]), cfg)
    output = target.pixels + 0.3 * jax.random.normal(jax.random.key(1), target.pixels.shape)
    w = jnp.full(target.pixels.shape[-1], 1e-4)
    gradient = output - target.pixels
    grads, pull, report = losses.adversary(w, output, gradient, target, KEY, 1)  # not regularised
    mean = lambda x: (target.weights[..., None] * target.mask * x).sum((0, 1))
    np.testing.assert_allclose(grads, mean(output - target.pixels) / 2, atol=1e-6)
    assert report["adversarial"] == pytest.approx(float(-mean(output) @ w), rel=1e-4)
    # Downhill of -D: where a pixel exists, against w.
    fooling = np.asarray(pull)[np.asarray(target.mask * target.weights[..., None]) > 0]
    assert (fooling < 0).all()


def test_the_roughness_of_a_discriminator_counts_now_and_then():
    """D(x) = w . x has a mean squared change of noise^2 |w|^2."""
    losses, model = linear_discriminator(regularise_every=4)
    cfg = losses.cfg
    clips = [clip(1)._replace(sample_id=i) for i in range(32)]
    batch = pack([clips[i : i + 4] for i in range(0, 32, 4)])
    target = target_of(batch, model)
    target = target._replace(mask=jnp.ones_like(target.mask))
    w = jnp.full(target.pixels.shape[-1], 1e-4)
    grads = lambda step: losses.adversary(w, target.pixels, target.pixels, target, KEY, step)[0]
    rough = grads(8) - grads(9)
    scale = cfg.regularise_every * cfg.regularisation * cfg.regularisation_noise**2
    assert float(rough @ w) == pytest.approx(float(2 * scale * w @ w), rel=0.2)
    np.testing.assert_array_equal(grads(9), grads(7))


def test_a_value_gets_another_gradient():
    x, gradient = jnp.arange(3.0), jnp.array([5.0, 0.0, -1.0])
    value, got = jax.value_and_grad(lambda x: with_gradients(2.5, x, gradient))(x)
    assert value == 2.5
    np.testing.assert_array_equal(got, gradient)
    assert with_gradients(2.5, 1e7 * x, gradient) == 2.5  # no digit is lost beside a large product


def test_the_discriminator_counts_from_its_start_on():
    """3 passes over originals, 3 over outputs, now and then 6 more, and 2 for the outputs' pull."""
    task, alone = (
        AutoencoderTask(tiny_config("autoencoder", losses__adversarial=weight, **LATER))
        for weight in (1.0, 0.0)
    )
    clips = Clips(np.array([[3, 4, 4], [1, 8, 8]]), np.array([48, 40]), np.array([3, 4]))
    pairs = np.array([48**2, 40**2])
    forward = stack_flops(discriminator.SIZES["smoke"], clips.tokens, pairs)
    assert task.flops(clips, 4) == alone.flops(clips, 5)
    more = task.flops(clips, 5).useful - alone.flops(clips, 5).useful
    assert more == pytest.approx((3 + 3 + 6 / 16 + 2) * sum(forward))


def test_pictures_of_empty_slots_and_terms_without_a_weight_cost_nothing():
    """A row of 16 slots with two clips: half of the groups of slots are passed over."""
    batch = pack([[clip(0), clip(1)]], max_segments=16)

    def loss(**weights):
        cfg = tiny_config("autoencoder")
        losses = Losses(LossConfig(**weights, crop=2), cfg.autoencoder.patch, cfg.compute)
        target = target_of(batch, cfg.autoencoder)
        run = lambda output: losses.reconstruction(output, target, {}, KEY)
        return jax.jit(run).lower(target.pixels).compile(), run(0.5 * target.pixels)

    both, (_, parts) = loss(perceptual=1.0, gram=1.0)
    one, (_, fewer) = loss(perceptual=1.0)
    assert "conditional" in one.as_text()
    assert set(parts) == set(fewer) | {"gram_multiscale"}
    assert parts["perceptual_multiscale"] == pytest.approx(fewer["perceptual_multiscale"])
    flops = lambda program: program.cost_analysis()["flops"]
    assert flops(one) < 0.8 * flops(both)


def test_pictures_too_small_for_their_features_are_refused():
    with pytest.raises(ConfigError, match=r"losses.crop=1: expected 16 pixels, not 8"):
        make(losses__crop=1)
    make(losses__crop=1, losses__perceptual=0.0, losses__gram=0.0)
    with pytest.raises(ConfigError, match=r"unknown losses.discriminator='XS'"):
        make(losses__discriminator="XS")
