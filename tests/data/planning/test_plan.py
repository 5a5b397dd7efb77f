import collections
import dataclasses

import numpy as np
import pytest
from clips import made_up

from videodit.config import ConfigError, DataConfig, ModeWeights, ViewConfig
from videodit.data import patches
from videodit.data.planning.given import MODES
from videodit.data.planning.plan import Plan
from videodit.data.sources.catalog import Part

PATCH = (4, 8, 8)
CFG = DataConfig(row_tokens=64, text_tokens=64, max_segments=8, batch_rows=4, rows_per_group=16)


def tokens_of(clips, i):
    size = (int(x[i]) for x in (clips.frames, clips.height, clips.width))
    return int(np.prod(patches.grid(*size, PATCH)))


def check_capacities(clips, rows):
    for row in rows:
        assert sum(p.keep for p in row) <= CFG.row_tokens
        texts = [clips.caption_lengths[p.clip][p.caption] for p in row]
        assert sum(texts) <= CFG.text_tokens and len(row) <= CFG.max_segments


def test_rows_hold_the_capacities_and_every_draw_has_its_own_id():
    clips = made_up(400)
    plan = Plan(clips, CFG, 0, PATCH)
    rows = [row for step in range(40) for row in plan.rows(step)]
    assert len(rows) == 160
    check_capacities(clips, rows)
    ids = [p.sample_id for row in rows for p in row]
    assert len(set(ids)) == len(ids)


def test_a_step_is_the_same_whenever_it_is_asked_and_another_seed_gives_other_rows():
    clips = made_up(300)
    plan, late, other = (Plan(clips, CFG, seed, PATCH) for seed in (3, 3, 4))
    early = [plan.rows(step) for step in range(100)]
    assert late.rows(99) == early[99] and late.rows(7) == early[7]
    assert other.rows(7) != early[7]


def test_an_epoch_draws_every_clip_at_most_once_and_leaves_few():
    plan = Plan(made_up(1200, seed=1), CFG, 0, PATCH)
    drawn = [p for step in range(300) for row in plan.rows(step) for p in row]
    for epoch in range(2):  # sample ids count the draws of the stream
        first = [p.clip for p in drawn if epoch <= p.sample_id / 1200 < epoch + 1]
        assert len(set(first)) == len(first)
        assert 1 - len(first) / 1200 < 0.15
    left_over = np.mean([plan.metrics(step)["left_over"] for step in range(0, 300, 4)])
    whole = [p.sample_id for p in drawn if p.sample_id < 2400]
    assert left_over == pytest.approx(1 - len(whole) / 2400, abs=0.01)


def test_clips_of_every_size_are_drawn_alike():
    clips = made_up(2000, seed=2)
    plan = Plan(clips, CFG, 0, PATCH)
    drawn = collections.Counter(
        tokens_of(clips, p.clip) for step in range(600) for row in plan.rows(step) for p in row
    )
    held = collections.Counter(tokens_of(clips, i) for i in range(2000))
    rates = np.array([drawn[size] / held[size] for size in held if held[size] > 50])
    assert len(rates) > 5
    np.testing.assert_allclose(rates / rates.mean(), 1, atol=0.03)


def test_rows_are_full():
    plan = Plan(made_up(2000), CFG, 0, PATCH)
    assert plan.fill(range(100)) > 0.96


def test_fill_is_the_share_of_real_tokens():
    clips = made_up(100)
    plan = Plan(clips, CFG, 0, PATCH)
    used = sum(tokens_of(clips, p.clip) for step in (0, 5) for row in plan.rows(step) for p in row)
    assert plan.fill((0, 5)) == pytest.approx(used / (2 * 4 * 64))


@pytest.mark.parametrize("clips", [1, 3, 20])
def test_a_catalog_of_a_few_clips_fills_rows(clips):
    plan = Plan(made_up(clips), CFG, 0, PATCH)
    placed = [p for step in range(40) for row in plan.rows(step) for p in row]
    assert {p.clip for p in placed} == set(range(clips))
    assert len({p.sample_id for p in placed}) == len(placed)
    counts = collections.Counter(p.clip for p in placed)
    assert max(counts.values()) < 1.3 * min(counts.values())


def test_clips_of_one_size_that_fit_badly_still_all_come():
    clips = made_up(50)
    size = dict(width=32, height=32, frames=5)  # 32 tokens: two a row of 64, one of 48
    same = dataclasses.replace(clips, **{k: np.full(50, v, np.int32) for k, v in size.items()})
    assert Plan(same, CFG, 0, PATCH).fill(range(8)) == 1
    narrow = Plan(same, dataclasses.replace(CFG, row_tokens=48), 0, PATCH)
    assert narrow.fill(range(8)) > 0.63  # 2/3 at best
    assert narrow.metrics(0)["left_over"] < 0.1


def test_caption_and_task_depend_on_seed_and_sample_id_alone():
    weights = ModeWeights(generate=2, animate=1, extend=0, inpaint=1)
    cfg = dataclasses.replace(CFG, modes=weights)
    # Another way to pack draws the same stream of clips, captions and tasks.
    wide = dataclasses.replace(cfg, row_tokens=96, rows_per_group=8)
    clips = made_up(2000)
    plans = [Plan(clips, c, 5, PATCH) for c in (cfg, wide)]
    first, second = (
        {p.sample_id: p for step in range(100) for row in plan.rows(step) for p in row}
        for plan in plans
    )
    shared = first.keys() & second.keys()
    assert len(shared) > 1000 and all(first[i] == second[i] for i in shared)
    tasks = collections.Counter(list(MODES)[p.mode_id] for p in first.values())
    shares = {name: count / len(first) for name, count in tasks.items()}
    assert shares == pytest.approx({"generate": 0.5, "animate": 0.25, "inpaint": 0.25}, abs=0.04)
    captions = collections.Counter(
        p.caption for p in first.values() if len(clips.captions[p.clip]) == 3
    )
    assert captions.keys() == {0, 1, 2} and min(captions.values()) > 0.28 * captions.total()


def test_only_captions_that_fit_are_chosen():
    clips = made_up(100)
    texts = [(70, n[0], 99) for n in clips.caption_lengths]
    plan = Plan(dataclasses.replace(clips, caption_lengths=texts), CFG, 0, PATCH)
    assert {p.caption for step in range(8) for row in plan.rows(step) for p in row} == {1}


def test_validation_holds_every_clip_once_in_full_batches():
    clips = made_up(150, val=61)
    plan = Plan(clips, CFG, 0, PATCH)
    batches = plan.validation_rows()
    assert all(len(batch) == CFG.batch_rows for batch in batches)
    rows = [row for batch in batches for row in batch]
    check_capacities(clips, rows)
    placed = sorted(p for row in rows for p in row)
    assert [p.clip for p in placed] == list(range(61))
    assert all((p.sample_id, p.caption, p.mode_id) == (p.clip, 0, 0) for p in placed)
    assert Plan(clips, CFG, 9, PATCH).validation_rows() == batches
    train = {p.clip for step in range(40) for row in plan.rows(step) for p in row}
    assert train <= set(range(61, 150))


def test_held_out_clips_may_have_longer_rows():
    clips = made_up(150, val=61)
    cfg = dataclasses.replace(CFG, evaluation_rows=2)
    plan = Plan(clips, cfg, 0, PATCH)
    batches, longer = plan.validation_rows(), CFG.batch_rows // 2
    assert {len(batch) for batch in batches} == {2}
    rows = [row for batch in batches for row in batch]
    assert sorted(p.clip for row in rows for p in row) == list(range(61))
    assert max(map(len, rows)) <= longer * CFG.max_segments
    assert max(sum(tokens_of(clips, p.clip) for p in row) for row in rows) > CFG.row_tokens
    training = Plan(clips, CFG, 0, PATCH)
    assert plan.rows(3) == training.rows(3) and plan.digest() == training.digest()


def test_what_cannot_be_planned_is_refused_by_name():
    clips = made_up(20)
    with pytest.raises(ConfigError, match=r"row_tokens=8: clip clip\d+ .* has \d+ tokens"):
        Plan(clips, dataclasses.replace(CFG, row_tokens=8), 0, PATCH)
    texts = [*clips.caption_lengths]
    texts[7] = (70, 90)
    with pytest.raises(ConfigError, match=r"text_tokens=64: clip clip7 .*\[70, 90\]"):
        Plan(dataclasses.replace(clips, caption_lengths=texts), CFG, 0, PATCH)
    for empty in (clips.select([]), made_up(5, val=5)):
        with pytest.raises(ConfigError, match="for training"):
            Plan(empty, CFG, 0, PATCH)
    for weights in (ModeWeights(generate=0), ModeWeights(animate=-1)):
        with pytest.raises(ConfigError, match="expected weights"):
            Plan(clips, dataclasses.replace(CFG, modes=weights), 0, PATCH)
    with pytest.raises(ConfigError, match="seed=-1"):
        Plan(clips, CFG, -1, PATCH)


def test_every_step_is_seen_by_the_schedule_of_its_window():
    views = ViewConfig(sides=((0, 16, 16), (10, 24, 24)))
    cfg = dataclasses.replace(CFG, views=views)
    clips = made_up(400, width=np.full(400, 32, np.int32), height=np.full(400, 32, np.int32))
    plan = Plan(clips, cfg, 0, PATCH)
    sides = [{p.view.width for row in plan.rows(step) for p in row} for step in range(24)]
    # Groups are of four steps: the one that begins at step 12 is the first behind step 10.
    assert sides[:12] == [{16}] * 12 and sides[12:] == [{24}] * 12
    ids = [p.sample_id for step in range(24) for row in plan.rows(step) for p in row]
    assert len(set(ids)) == len(ids)


def test_dropped_tokens_make_room_and_are_counted():
    clips = made_up(1000, static=np.full(1000, 0.5, np.float32))
    views = ViewConfig(drop=((0, 0.6, 2, 2),), drop_static=((0, 1.0),))
    plan = Plan(clips, dataclasses.replace(CFG, views=views), 0, PATCH)
    placed = [p for step in range(40) for row in plan.rows(step) for p in row]
    check_capacities(clips, [row for step in range(40) for row in plan.rows(step)])
    whole = [tokens_of(clips, p.clip) for p in placed]
    assert all(1 <= p.keep <= n - p.drop_static for p, n in zip(placed, whole))
    dropped = np.mean([plan.metrics(step)["tokens_dropped"] for step in range(40)])
    assert dropped == pytest.approx(1 - sum(p.keep for p in placed) / sum(whole), abs=0.01)
    assert plan.fill(range(40)) > 0.96


def mixture_plan(weights, sources=3, **cfg):
    """Up to three sources, of small, middle and large clips."""
    sides = np.repeat([16, 24, 40], 500).astype(np.int32)
    clips = made_up(1500, width=sides, height=sides, frames=np.full(1500, 5, np.int32))
    cfg = (
        dict(row_tokens=256, text_tokens=512, max_segments=32, batch_rows=8, rows_per_group=64)
        | cfg
    )
    clips = clips.select(np.arange(500 * sources))
    parts = [Part(500 * i, 500 * (i + 1), weight) for i, weight in enumerate(weights)]
    return clips, Plan(clips, DataConfig(**cfg), 0, PATCH, parts)


def test_a_mixture_keeps_its_weights_over_any_thousand_rows():
    _, plan = mixture_plan((5, 3, 2))
    rows = [row for step in range(400) for row in plan.rows(step)]
    tokens = np.zeros((len(rows), 3))
    for row, placed in zip(tokens, rows):
        for p in placed:
            row[p.clip // 500] += p.keep
    sums = np.pad(tokens.cumsum(0), ((1, 0), (0, 0)))
    stretches = sums[1000:] - sums[:-1000]
    shares = stretches / stretches.sum(1, keepdims=True)
    assert abs(shares - [0.5, 0.3, 0.2]).max() < 0.01
    assert plan.fill(range(100)) > 0.97
    for source in range(3):  # each has epochs of its own
        drawn = collections.Counter(p.clip for row in rows for p in row if p.clip // 500 == source)
        assert len(drawn) == 500 and max(drawn.values()) - min(drawn.values()) < 0.4 * np.mean(
            [*drawn.values()]
        )


def test_images_get_their_share_of_the_tokens():
    clips = made_up(1000)  # half of them images
    views = ViewConfig(images=((0, 0.1), (40, 0.0)))
    plan = Plan(clips, dataclasses.replace(CFG, views=views), 0, PATCH)
    kept = {True: 0, False: 0}
    for step in range(40):
        for p in (p for row in plan.rows(step) for p in row):
            kept[bool(clips.frames[p.clip] == 1)] += p.keep
    assert kept[True] / sum(kept.values()) == pytest.approx(0.1, abs=0.02)
    later = [p for step in range(40, 60) for row in plan.rows(step) for p in row]
    assert later and all(clips.frames[p.clip] > 1 for p in later)


@pytest.mark.parametrize("rows_per_group, weight", [(8, 0.02), (4, 0.02), (64, 0.002)])
def test_small_shares_hold_in_small_windows(rows_per_group, weight):
    _, plan = mixture_plan((weight, 1 - weight), 2, batch_rows=4, rows_per_group=rows_per_group)
    placed = [p for step in range(1000) for row in plan.rows(step) for p in row]
    shares = [sum(p.keep for p in placed if p.clip // 500 == source) for source in range(2)]
    assert shares[0] / sum(shares) == pytest.approx(weight, abs=0.005)


def test_a_part_without_clips_for_training_gives_none():
    clips = made_up(300, val=100)
    plan = Plan(clips, CFG, 0, PATCH, [Part(0, 100, 1), Part(100, 300, 1)])
    assert min(p.clip for step in range(10) for row in plan.rows(step) for p in row) >= 100
    held_out = {p.clip for rows in plan.validation_rows() for row in rows for p in row}
    assert held_out == set(range(100))


def test_the_digest_follows_what_the_rows_follow_from():
    clips = made_up(100)
    digest = lambda clips=clips, seed=0, **cfg: Plan(
        clips, dataclasses.replace(CFG, **cfg), seed, PATCH
    ).digest()
    assert digest() == digest(made_up(100)) == digest(workers=4, threads=1, max_broken=0.5)
    others = [digest(seed=1), digest(row_tokens=96), digest(clips.select(np.arange(99)))]
    others.append(digest(views=ViewConfig(drop=((0, 0.1, 1, 1),))))
    assert len({digest(), *others}) == 5


def test_text_tokens_are_chosen_as_few_as_keep_the_rows_full():
    texts = [tuple(n) for n in np.random.default_rng(0).integers(20, 200, (2000, 2)).tolist()]
    clips = made_up(2000, caption_lengths=texts, captions=[("", "")] * 2000)
    cfg = dataclasses.replace(CFG, row_tokens=256, text_tokens=0, max_segments=64)
    plan, ample = (
        Plan(clips, dataclasses.replace(cfg, text_tokens=n), 0, PATCH) for n in (0, 10**5)
    )
    chosen = plan.cfg.text_tokens
    assert chosen % 128 == 0 and chosen >= 200
    assert plan.fill(range(40)) > ample.fill(range(40)) - 0.01
    fewer = Plan(clips, dataclasses.replace(cfg, text_tokens=chosen - 256), 0, PATCH)
    assert fewer.fill(range(40)) < plan.fill(range(40))
    for row in (row for step in range(20) for row in plan.rows(step)):
        assert sum(clips.caption_lengths[p.clip][p.caption] for p in row) <= chosen


def test_a_spare_fits_into_the_place_and_depends_on_the_place_alone():
    clips, plan = mixture_plan((1, 1, 1))
    other = mixture_plan((1, 1, 1))[1]
    found = collections.Counter()
    for step in range(6):
        for r, row in enumerate(plan.rows(step)):
            for slot, placed in enumerate(row):
                spare = plan.spare(placed, step, r, slot)
                assert spare == other.spare(placed, step, r, slot)
                found[spare is None] += 1
                if spare:
                    text = lambda p: clips.caption_lengths[p.clip][p.caption]
                    assert spare.keep <= placed.keep and text(spare) <= text(placed)
                    assert spare.clip != placed.clip and spare.clip // 500 == placed.clip // 500
                    assert spare.sample_id == placed.sample_id
    assert found[False] > 20 * found[True]
    assert plan.spare(placed, 0, 0, 0) != plan.spare(placed, 0, 0, 1)


def test_hosts_get_like_shares_of_the_work():
    plan = Plan(made_up(2000), dataclasses.replace(CFG, batch_rows=32, rows_per_group=64), 0, PATCH)
    assert np.mean([plan.metrics(step, shares=4)["imbalance"] for step in range(20)]) < 1.05
    assert plan.metrics(0)["imbalance"] == 1
