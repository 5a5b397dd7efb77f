"""Packed equals unpacked, and nothing leaks between the clips of a pack, for both tasks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from packs import clip, distance, pack, perturb, tiny_config

from videodit.data.sources.source import open_tokenizer
from videodit.tasks.autoencoder import AutoencoderTask
from videodit.tasks.diffusion import DiffusionTask

GIVEN = np.zeros((3, 3, 2), bool)
GIVEN[0] = True  # clip 0 is animated
KEY, STEP = jax.random.key(3), 0
WINDOWS = {"autoencoder__window": 2, "autoencoder__chunk": 1}  # every frame but one is cut up


def make(name, **changes):
    cfg = tiny_config(name, **changes)
    task = (
        AutoencoderTask(cfg)
        if name == "autoencoder"
        else DiffusionTask(cfg, open_tokenizer("synthetic"))
    )
    frozen = task.make_frozen([pack([[clip(i)] for i in range(5)])])
    params = perturb(jax.jit(task.init)(jax.random.key(0), frozen))
    if name == "diffusion":
        frozen["autoencoder"] = perturb(frozen["autoencoder"])
    return task, params, frozen


def segments():
    return [clip(0, given=GIVEN), clip(1), clip(2), clip(3), clip(4)]


def loss_and_gradients(task, params, frozen, batch):
    def loss(params, frozen, batch):
        return task.loss(params, frozen, batch, task.weights(batch), KEY, STEP)[0]

    with jax.default_matmul_precision("highest"):
        return jax.jit(jax.value_and_grad(loss))(params, frozen, batch)


@pytest.mark.parametrize("name, changes", [
    ("autoencoder", WINDOWS), ("diffusion", WINDOWS),
    ("diffusion", {"dit__modulation": "shared", "flow__loss_per": "clip"}),
])  # fmt: skip
def test_packed_equals_each_clip_alone(name, changes):
    task, params, frozen = make(name, **changes)
    s = segments()
    packed = pack([[s[3], s[0], s[1]], [s[4], s[2]]])
    alone = pack([[x] for x in s])
    a, b = (loss_and_gradients(task, params, frozen, batch) for batch in (packed, alone))
    assert distance(a[0], b[0]) < 1e-5
    assert distance(a[1], b[1]) < 1e-5
    for path, gradient in jax.tree_util.tree_leaves_with_path(a[1]):
        frozen_path = "linear" in jax.tree_util.keystr(path)  # the autoencoder's PCA stays
        assert (jnp.abs(gradient).max() > 0) != frozen_path


def outputs(task, params, frozen, batch):
    """What the model says of every token."""
    if isinstance(task, AutoencoderTask):
        return np.asarray(jax.jit(task.reconstruct)(params, batch))

    def velocity(params, frozen, batch):
        latents, draws = task.encode(frozen, batch), task.draw_corruption(KEY, batch)
        return task.token_error(params, frozen, latents, batch, draws)

    return np.asarray(jax.jit(velocity)(params, frozen, batch))


@pytest.mark.parametrize("name", ["autoencoder", "diffusion"])
def test_other_pixels_captions_and_noise_leave_a_clip_unchanged_to_the_bit(name):
    task, params, frozen = make(name, **WINDOWS)
    s = segments()
    other = clip(1, seed=9)._replace(sample_id=999)  # other pixels, caption and noise
    assert not np.array_equal(other.text_ids, s[1].text_ids)
    before, after = (pack([[s[0], x, s[2]], [s[3], s[4]]]) for x in (s[1], other))
    a, b = (outputs(task, params, frozen, batch) for batch in (before, after))
    touched = np.zeros(a.shape[:2], bool)
    touched[0] = np.asarray(before.segment_ids)[0] == 2
    np.testing.assert_array_equal(a[~touched], b[~touched])
    assert (a[touched] != b[touched]).any()


def test_clips_of_one_pack_get_different_levels():
    task, *_ = make("diffusion")
    batch = pack([segments()[:3], segments()[3:]])
    levels = np.asarray(task.draw_corruption(KEY, batch).levels)[np.asarray(batch.valid)]
    assert len(np.unique(levels)) == 5


def test_the_loss_takes_levels_and_noise_as_arguments():
    task, params, frozen = make("diffusion")
    batch = pack([segments()[:3], segments()[3:]])
    draws, weights = task.draw_corruption(KEY, batch), task.weights(batch)
    drawn = task.loss(params, frozen, batch, weights, KEY, STEP)[0]
    assert task.loss(params, frozen, batch, weights, None, STEP, draws)[0] == drawn
    noisier = draws._replace(levels=draws.levels**0.5)
    assert task.loss(params, frozen, batch, weights, None, STEP, noisier)[0] != drawn
