import jax
import jax.numpy as jnp
import numpy as np
import pytest
from packs import PATCH, clip, pack, perturb, tiny_config

from videodit.config import ConfigError
from videodit.data import patches
from videodit.data.packing import segment
from videodit.data.planning.given import MODES, choose_mode
from videodit.data.sources.source import open_tokenizer
from videodit.models.protocols import Statistics
from videodit.nn.cudnn import segment_table
from videodit.tasks.diffusion import DiffusionTask, normalisation
from videodit.tasks.views import clip_means, rotate_captions

CFG = tiny_config(data__row_tokens=96, data__text_tokens=64, sample__prompts=())


@pytest.fixture(scope="module")
def model():
    task = DiffusionTask(CFG, open_tokenizer("synthetic"))
    frozen = task.make_frozen(())
    return task, perturb(task.init(jax.random.key(0), frozen)), frozen


def test_a_dropped_caption_is_the_beginning_of_text_alone(model):
    task, params, _ = model
    batch = pack([[clip(0), clip(2)]])
    dropped = jnp.zeros_like(batch.valid).at[0, 0].set(True)
    ids = task.read_captions(params, batch, dropped).segment_ids
    assert (np.asarray(ids)[0, :9] == [1, 0, 0, 2, 2, 2, 2, 2, 0]).all()


def test_captions_are_read_in_segments_that_are_as_few_as_promised_and_not_torn(model, monkeypatch):
    task, params, _ = model
    asked = {}

    def apply_text(params, tokens, positions, segments):
        asked.update(ids=np.asarray(segments.query), most=segments.most)

    monkeypatch.setattr(task.text_encoder, "encode", apply_text)
    batch = pack([[clip(0), clip(1), clip(2)]], max_segments=3)
    task.read_captions(params, batch, jnp.array([[True, False, True]]))
    ids, most = asked["ids"], asked["most"]
    assert ids[0, :13].tolist() == [1, 4, 4, 2, 2, 2, 2, 3, 6, 6, 6, 6, 0] and most == 7
    assert segment_table(ids, ids, most)[1]


def test_rotated_captions_come_from_another_clip_of_the_row():
    batch = pack([[clip(0), clip(1), clip(2)], [clip(3)]])
    ids = np.asarray(rotate_captions(batch.valid, batch.text_segment_ids, 1))
    assert ids[0, :13].tolist() == [2] * 3 + [3] * 4 + [1] * 5 + [0] and set(ids[1, :6]) == {1}


def test_captions_are_rotated_past_an_empty_slot_and_around():
    batch = pack([[clip(0), None, clip(2)]])
    for by in (1, 3):
        ids = np.asarray(rotate_captions(batch.valid, batch.text_segment_ids, by))
        assert ids[0, :9].tolist() == [3] * 3 + [1] * 5 + [0]
    same = rotate_captions(batch.valid, batch.text_segment_ids, 2)
    np.testing.assert_array_equal(same, batch.text_segment_ids)


def test_clip_means():
    batch = pack([[clip(0), clip(1)]])
    values = jnp.where(batch.segment_ids == 1, 2.0, jnp.where(batch.segment_ids == 2, 5.0, 99.0))
    np.testing.assert_allclose(clip_means(batch, values)[0, :2], [2, 5], rtol=1e-6)


def long_clip(given, seed=0):
    """A clip of 5 latent frames (the chunks of two are 0, 1 2, 3 4) of 3 x 2 cells."""
    frames = np.random.default_rng(seed).integers(0, 256, (17, 24, 16, 3), np.uint8)
    return segment(frames, patch=PATCH, fps=8.0, text_ids=[1, 5, 2], given=given, sample_id=7)


def encoded(model, segments):
    task, _, frozen = model
    return np.asarray(
        task.encode({**frozen, "autoencoder": perturb(frozen["autoencoder"])}, segments)
    )


@pytest.mark.parametrize("name, chunk", [
    ("animate", 2), ("extend", 2), ("extend", 1), ("prepend", 2), ("connect", 2), ("inpaint", 2)
])  # fmt: skip
def test_nothing_of_what_is_to_be_generated_reaches_the_given_latents(model, name, chunk):
    _, given = choose_mode(list(MODES).index(name), (5, 3, 2), np.random.default_rng(1), chunk)
    known = long_clip(given)
    cells = patches.patchify(known.frames, PATCH)
    cells[~given.ravel()] = 0  # black, as when sampling
    frames = patches.unpatchify(cells, (5, 3, 2), PATCH, (17, 24, 16))
    a, b = (
        encoded(model, pack([[clip(1), s, clip(2)]]))[0, 16:46]
        for s in (known, known._replace(frames=frames))
    )
    given = given.ravel()
    np.testing.assert_array_equal(a[given], b[given])
    assert (a[~given] != b[~given]).all()


def test_a_clip_whose_beginning_is_given_is_encoded_whole(model):
    nothing, beginning, split = (np.zeros((5, 3, 2), bool) for _ in range(3))
    beginning[:3], split[:2] = True, True  # up to the border of a chunk; through a chunk
    whole, same, apart = (
        encoded(model, pack([[long_clip(given)]]))[0, :30] for given in (nothing, beginning, split)
    )
    np.testing.assert_allclose(same, whole, rtol=0, atol=1e-5)
    assert (np.abs(apart - whole)[6:].max(-1) > 1e-3).all()


def test_stored_latents_are_standardised_and_nothing_else(model):
    task, _, frozen = model
    batch = pack([[clip(0), clip(1)]])
    latents = np.random.default_rng(0).normal(size=(1, 96, task.channels)).astype(np.float32)
    frozen = {
        **frozen,
        "mean": jnp.full(task.channels, 3.0),
        "scale": jnp.full(task.channels, 2.0),
    }
    encoded = task.encode(frozen, batch._replace(tokens=jnp.asarray(latents)))
    np.testing.assert_allclose(encoded, (latents - 3) / 2, rtol=1e-6)


def test_untrained_it_is_the_linear_predictor(model):
    task, _, frozen = model
    root = np.random.default_rng(0).normal(size=(task.channels, task.channels))
    statistics = Statistics(np.zeros(task.channels), root @ root.T)
    frozen = frozen | normalisation(statistics, np.ones(task.channels), 0.5)
    batch = pack([[clip(0), clip(1)]])
    params = task.init(jax.random.key(0), frozen)
    measures = jax.jit(task.evaluate)(params, frozen, batch, jax.random.key(1))
    np.testing.assert_allclose(measures["loss"][0, :2], measures["loss_linear"][0, :2], rtol=1e-4)
    assert (measures["caption_gain"] == 0).all()


def test_an_inspection_is_at_its_levels_and_of_these_captions(model):
    task, params, frozen = model
    batch, key = pack([[clip(0), clip(1)]]), jax.random.key(1)
    found = jax.jit(task.inspect)(params, frozen, batch, key)
    draws = task.draw_corruption(key, batch)
    draws = draws._replace(
        levels=jnp.full_like(draws.levels, 0.9), dropped=jnp.zeros_like(batch.valid)
    )
    swapped = batch._replace(text_segment_ids=jnp.asarray([0, 2, 1])[batch.text_segment_ids])

    @jax.jit
    def loss(batch):
        latents = task.encode(frozen, batch)
        return clip_means(batch, task.token_error(params, frozen, latents, batch, draws))

    own, other = (np.asarray(loss(b))[0, :2] for b in (batch, swapped))
    np.testing.assert_allclose(found["loss_at_0.9"][0, :2], own, rtol=1e-4)
    np.testing.assert_allclose(found["caption_gain_at_0.9"][0, :2], other - own, atol=1e-4)


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_channels_keep_their_deviation_in_pixels_to_a_power(power):
    rng = np.random.default_rng(0)
    mixing, spread = rng.normal(size=(3, 3)), np.array([9.0, 3.0, 1.0])
    latents = 5 + rng.normal(size=(10_000, 3)) @ mixing
    statistics = Statistics(latents.mean(0), np.cov(latents.T, bias=True))
    arrays = normalisation(statistics, spread, power)
    got = (latents - arrays["mean"]) / arrays["scale"]
    assert np.mean(got**2) == pytest.approx(1, abs=1e-3)
    ratio = got.std(0) / (latents.std(0) * spread) ** power
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-3)
    rebuilt = (arrays["vectors"] * arrays["variances"]) @ arrays["vectors"].T
    np.testing.assert_allclose(rebuilt, np.cov(got.T, bias=True), atol=1e-3)


def test_an_autoencoder_that_is_not_there_is_named(tmp_path):
    for workdir, message in (
        ("", "autoencoder.workdir=''"),
        (str(tmp_path), "no checkpoint|run's|trained"),
    ):
        cfg = tiny_config(autoencoder__workdir=workdir)
        with pytest.raises(ConfigError, match=message):
            DiffusionTask(cfg, open_tokenizer("synthetic")).make_frozen(())
