"""Packed equals alone, given tokens are kept, and nothing is compiled twice."""

import dataclasses

import jax
import numpy as np
import pytest
import toy_convolution  # noqa: F401
from packs import perturb, tiny_config

from videodit.checkpoint import write_run
from videodit.config import ConfigError, changed
from videodit.data.loader import place
from videodit.data.packing import unpack
from videodit.data.sources.source import open_tokenizer
from videodit.goodput import compilation
from videodit.inference import pipeline as module
from videodit.inference.codec import Codec, NotFinite, if_finite
from videodit.inference.pipeline import Pipeline
from videodit.inference.request import Request
from videodit.inference.sampling import sample_latents
from videodit.tasks.autoencoder import AutoencoderTask
from videodit.tasks.diffusion import DiffusionTask
from videodit.tasks.registry import TASKS
from videodit.tasks.resolve import resolve_elsewhere


class Further(DiffusionTask):
    """A task that is registered elsewhere."""


CFG = tiny_config(
    data__row_tokens=96, data__text_tokens=64, data__max_segments=6, sample__prompts=()
)
CLIP = np.random.default_rng(0).integers(0, 256, (9, 24, 16, 3), np.uint8)
BOX = np.ones(CLIP.shape[:3], bool)
BOX[:, 8:] = False
MODES = {
    "animate": Request.animate("a red square", CLIP[0], 9, seed=1),
    "extend": Request.extend("a red square", CLIP[:5], 9, seed=2),
    "prepend": Request.prepend("a red square", CLIP[:4], 9, seed=3),
    "connect": Request.connect("a red square", CLIP[:1], CLIP[1:5], 9, seed=4),
    "inpaint": Request.inpaint("a red square", CLIP, BOX, seed=5),
}
REQUESTS = [
    Request("a red square", 40, 24, 5, 8.0, 3),
    Request("blue", 33, 17, 2, 8.0, 4),
    *MODES.values(),
]


@pytest.fixture(scope="module")
def pipeline():
    tokenizer = open_tokenizer("synthetic")
    task = DiffusionTask(CFG, tokenizer)
    frozen = task.make_frozen(())
    params = perturb(task.init(jax.random.key(0), frozen))
    return Pipeline(task, CFG, tokenizer, params, frozen)


@pytest.fixture(scope="module")
def latents(pipeline):
    """`latents(requests)`: index of a request to its drawn and its encoded latents t h w C."""
    task, params, frozen = pipeline._task, pipeline._params, pipeline._frozen

    @jax.jit
    def run(batch):
        drawn = sample_latents(task, CFG.sample, CFG.flow, params, frozen, batch)
        return drawn, task.encode(frozen, batch)

    def draw(requests):
        found = {}
        for group in pipeline._packer.groups(requests):
            batch = pipeline._packer.batch(group, requests)
            pairs = (unpack(x, batch, (1, 1, 1)) for x in run(place(batch)))
            found |= dict(zip(group.order(), zip(*pairs)))
        return found

    return draw


def test_latents_are_those_of_a_request_alone(latents):
    together = latents(REQUESTS)
    for i, request in enumerate(REQUESTS):
        alone = latents([request])[0][0]
        np.testing.assert_allclose(together[i][0], alone, rtol=0, atol=1e-4)


def test_clips_have_the_shapes_that_were_asked_for(pipeline):
    clips = dict(pipeline(REQUESTS))
    shapes = [(r.frames, r.height, r.width, 3) for r in REQUESTS]
    assert [clips[i].shape for i in range(len(REQUESTS))] == shapes
    assert all(clip.dtype == np.uint8 for clip in clips.values())


def test_the_seed_changes_the_clip(pipeline):
    asked = [REQUESTS[0], dataclasses.replace(REQUESTS[0], seed=9)]
    (_, clip), (_, other) = pipeline(asked)
    assert (other != clip).mean() > 0.5


@pytest.mark.parametrize("mode, given", [
    ("animate", [6, 0, 0]), ("extend", [6, 6, 0]), ("prepend", [0, 0, 6]), ("connect", [6, 0, 6]),
    ("inpaint", [2, 2, 2]),
])  # fmt: skip
def test_given_latents_are_kept_to_the_bit_and_the_others_drawn(latents, mode, given):
    (drawn, encoded) = latents([MODES[mode]])[0]
    kept = (drawn == encoded).all(-1)
    assert kept.sum((1, 2)).tolist() == given
    assert (drawn != encoded)[~kept].all()


def test_a_given_frame_is_seen_in_what_is_drawn(latents):
    (a, _), (b, _) = (
        latents([Request.animate("a red square", image, 9, seed=1)])[0] for image in CLIP[:2]
    )
    assert (a[1:] != b[1:]).mean() > 0.9


def test_groups_come_out_one_by_one_and_nothing_is_compiled_again(pipeline):
    asked = [Request("a red square", 40, 24, 5, 8.0, seed) for seed in range(9)]
    groups = pipeline.groups(asked)
    assert [len(group) for group in groups] == [3, 3, 3]
    clips, found = pipeline(asked), []
    found += [next(clips)[0] for _ in groups[0]]
    before = compilation()["count"]
    found += [index for index, _ in clips]
    assert found == [i for group in groups for i in group]
    assert dict(pipeline(asked[1:])).keys() == set(range(8))
    assert compilation()["count"] == before


def test_other_weights_take_the_same_programs(pipeline):
    clips = dict(pipeline(REQUESTS))
    zeros = jax.tree.map(lambda x: 0 * x, pipeline._params)
    before = compilation()["count"]
    others = dict(pipeline.with_params(zeros, pipeline._frozen)(REQUESTS))
    assert (clips[0] != others[0]).any() and compilation()["count"] == before
    np.testing.assert_array_equal(dict(pipeline(REQUESTS))[0], clips[0])


def test_bad_requests_are_refused_before_the_iterator_is_used(pipeline):
    with pytest.raises(ConfigError, match=r"data\.row_tokens=96"):
        pipeline([REQUESTS[0], Request("a", 512, 512)])


def test_configured_samples_are_drawn_in_order_and_checked_at_once(pipeline):
    samples = {"sample.prompts": ("a", "b", "c"), "sample.size": "40x24", "sample.frames": 5}
    task, tokenizer = pipeline._task, pipeline._packer._tokenizer
    cfg = changed(CFG, samples)
    drawings = Pipeline(task, cfg, tokenizer, pipeline._params, pipeline._frozen).drawings()
    names = [(d.name, d.caption, d.role) for d in drawings]
    assert names == [(f"sample_{i}", prompt, "sample") for i, prompt in enumerate("abc")]
    assert all(d.frames.shape == (5, 24, 40, 3) for d in drawings)
    with pytest.raises(ConfigError, match=r"data\.row_tokens=96"):
        Pipeline(task, changed(cfg, {"sample.size": "512x512"}), tokenizer)


def test_a_codec_of_whole_clips_decodes_them_one_by_one(monkeypatch, mesh):
    made = []
    monkeypatch.setattr(
        module, "Codec", lambda *args, **kw: made.append(Codec(*args, **kw)) or made[-1]
    )
    changes = {f"data.modes.{name}": 0.0 for name in ("prepend", "connect", "inpaint")}
    changes |= {"autoencoder.kind": "toy convolution", "autoencoder.workdir": "codec"}
    cfg = resolve_elsewhere(changed(CFG, changes | {"data.latents": "elsewhere"}))
    tokenizer = open_tokenizer("synthetic")
    with mesh(data=2):
        task = DiffusionTask(cfg, tokenizer)
        frozen = task.make_frozen(())
        params = jax.jit(task.init)(jax.random.key(0), frozen)
        pipeline = Pipeline(task, cfg, tokenizer, params, frozen)
        asked = [Request("a red square", 40, 24, 5, 8.0, seed) for seed in range(9)]
        assert len(pipeline.groups(asked)) == 2
        clips = dict(pipeline(asked))
    assert [clips[i].shape for i in range(9)] == [(5, 24, 40, 3)] * 9 and len(made) == 1


def test_a_run_is_read_with_its_own_task(tmp_path, monkeypatch):
    tokenizer = open_tokenizer("synthetic")
    write_run(tmp_path, CFG, tokenizer)
    monkeypatch.setitem(TASKS, "diffusion", Further)
    monkeypatch.setattr(module, "restore_ema", lambda workdir, target, field: None)
    assert type(Pipeline.read(tmp_path)._task) is Further
    monkeypatch.setitem(TASKS, "diffusion", AutoencoderTask)
    with pytest.raises(ConfigError, match=r"^workdir='.*': expected a run of task"):
        Pipeline.read(tmp_path)


def test_samples_that_are_not_finite_are_refused(pipeline):
    broken = jax.tree.map(lambda x: jax.numpy.full_like(x, np.nan), pipeline._params)
    sampler = pipeline.with_params(broken, pipeline._frozen)
    with pytest.raises(NotFinite, match=r"prompts 'a red square' and 1 more.: expected weights of"):
        list(sampler([REQUESTS[0], MODES["animate"]]))
    clip = if_finite(lambda: list(sampler(REQUESTS[:1])))
    assert clip is None  # an evaluation goes on without samples
