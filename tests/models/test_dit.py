import jax
import numpy as np
import pytest
from packs import clip, pack, perturb, tiny_config

from videodit.models.dit import POOL_HEADS, AttentionPool, make_dit
from videodit.nn.functional import functional
from videodit.tasks.views import clip_segments, noise_slots, slot_levels, token_fractions

RNG = np.random.default_rng(0)
BATCH = jax.device_get(pack([[clip(0), clip(1)]]))
LATENTS = RNG.normal(size=(1, 96, 16)).astype(np.float32)
LEVELS = RNG.uniform(size=(1, 12)).astype(np.float32)
TEXT = RNG.normal(size=(1, 32, 32)).astype(np.float32)
FIRST, SECOND = (BATCH.segment_ids[0] == m for m in (1, 2))


@pytest.fixture(params=["block", "shared"])
def model(request):
    cfg = tiny_config(dit__modulation=request.param)
    init, apply = make_dit(cfg.dit, 16, 32, cfg.compute)
    params = init(jax.random.key(0))

    def run(params, levels=LEVELS, text=TEXT, batch=BATCH):
        places = (
            noise_slots(batch, levels),
            batch.positions,
            token_fractions(batch),
            clip_segments(batch),
        )
        velocity = apply(params, LATENTS, *places, text, batch.text_segment_ids)
        return np.asarray(velocity)[0]

    return params, run


def test_it_starts_at_zero(model):
    params, run = model
    assert (run(params) == 0).all()


@pytest.mark.parametrize("kind, at", [("block", ("stack", "blocks", "modulation")), ("shared", ())])
def test_tables_may_start_with_weights(kind, at):
    cfg = tiny_config(dit__modulation=kind, dit__initial_modulation=0.5)
    init, _ = make_dit(cfg.dit, 16, 32, cfg.compute)
    params = init(jax.random.key(0))
    for name in (*at, "table", "kernel"):
        params = params[name]
    deviation = np.asarray(params).std()
    assert deviation == pytest.approx(0.5 / params.shape[-2] ** 0.5, rel=0.05)


def test_a_level_and_a_caption_reach_the_tokens_of_their_clip_alone(model):
    params, run = model
    params = perturb(params)
    before = run(params)
    levels = LEVELS.copy()
    levels[0, 2] = 0.5 * levels[0, 2]  # the noisy slot of the second clip
    text = np.where(BATCH.text_segment_ids[..., None] == 2, TEXT + 1, TEXT)
    for after in (run(params, levels=levels), run(params, text=text)):
        np.testing.assert_array_equal(after[FIRST], before[FIRST])
        assert (after[SECOND] != before[SECOND]).all(axis=-1).all()


@pytest.mark.parametrize("places", [True, False])
def test_only_places_tell_apart_tokens_that_look_alike(places):
    cfg = tiny_config(dit__places=places)
    init, apply = make_dit(cfg.dit, 16, 32, cfg.compute)
    arguments = (
        np.ones_like(LATENTS),
        noise_slots(BATCH, LEVELS),
        BATCH.positions,
        token_fractions(BATCH),
        clip_segments(BATCH),
        TEXT,
        BATCH.text_segment_ids,
    )
    velocity = np.asarray(apply(perturb(init(jax.random.key(0))), *arguments))[0]
    # Attention over equal values gives this value, however rotary positions weigh them.
    spread = velocity[FIRST].std(0).max()
    assert (spread > 1e-2) if places else (spread < 1e-4)


def test_the_slot_of_given_tokens_does_not_reach_the_others(model):
    params, run = model
    params, levels = perturb(params), LEVELS.copy()
    levels[0, [1, 3]] += 0.3  # no token of these clips is given
    np.testing.assert_array_equal(run(params, levels=levels), run(params))


def in_frame_slots(batch):
    """The batch with a noise slot for each latent frame of its first clip: 7 slots, not 12."""
    seconds = batch.positions[0, FIRST, 0]
    frames = np.unique(seconds, return_inverse=True)[1]
    assert frames.max() == 2
    ids = np.where(SECOND, 5, -1)[None]
    ids[0, FIRST] = 1 + frames
    segments = np.int32([[0, 1, 1, 1, 0, 2, 0]])
    return batch._replace(
        noise_slot_ids=ids, slot_segments=segments, slot_given=np.zeros((1, 7), bool)
    )


def test_a_segment_may_have_a_slot_for_each_latent_frame(model):
    params, run = model
    params, batch = perturb(params), in_frame_slots(BATCH)
    clips = np.float32([[0.3, 0.8, 0, 0, 0, 0]])
    expected = run(params, levels=np.asarray(slot_levels(BATCH, clips)))
    levels = np.array(slot_levels(batch, clips))
    np.testing.assert_allclose(levels, [[0, 0.3, 0.3, 0.3, 0, 0.8, 0]])
    np.testing.assert_allclose(run(params, levels=levels, batch=batch), expected, atol=1e-5)
    levels[0, 2] = 0.5  # of the second frame
    after = run(params, levels=levels, batch=batch)
    assert (after[FIRST] != expected[FIRST]).all(axis=-1).all()
    np.testing.assert_allclose(after[SECOND], expected[SECOND], atol=1e-5)


def test_a_pooled_caption_is_the_softmax_of_its_own_tokens():
    init, apply = functional(lambda rngs: AttentionPool(32, rngs=rngs))
    params, ids = init(jax.random.key(0)), BATCH.text_segment_ids
    pooled = np.asarray(apply(params, TEXT, jax.nn.one_hot(ids - 1, 6)))
    for m in (1, 2):
        words = TEXT[0, ids[0] == m].astype(np.float64)
        scores = np.exp(words @ np.float64(params["score"]["kernel"]))
        values = (words @ np.float64(params["value"]["kernel"])).reshape(len(words), POOL_HEADS, -1)
        expected = np.einsum("sn,snh->nh", scores / scores.sum(0), values).reshape(-1)
        np.testing.assert_allclose(pooled[0, m - 1], expected, atol=1e-4)
    assert (pooled[0, 2:] == 0).all()  # segments without a caption
    gradient = jax.grad(lambda params: apply(params, TEXT, jax.nn.one_hot(ids - 1, 6)).sum())(
        params
    )
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
