import collections
import dataclasses

import numpy as np
import pytest

from videodit.config import ConfigError, DataConfig, TaskWeights
from videodit.data import patches
from videodit.data.catalog import Catalog
from videodit.data.given import TASKS
from videodit.data.plan import Plan

PATCH = (4, 8, 8)
CFG = DataConfig(row_tokens=64, text_tokens=64, max_segments=8, batch_rows=4, rows_per_window=16)


def catalog(clips, seed=0, val=0):
    rng = np.random.default_rng(seed)
    width, height = rng.choice([16, 24, 32], clips), rng.choice([16, 24, 32, 40], clips)
    texts = [tuple(rng.integers(2, 12, rng.integers(1, 4)).tolist()) for _ in range(clips)]
    return Catalog(
        ids=np.array([f"clip{i}" for i in range(clips)], object),
        shard=np.array(["shard"] * clips, object),
        index=np.arange(clips, dtype=np.int32),
        width=width.astype(np.int32),
        height=height.astype(np.int32),
        frames=rng.choice([1, 1, 5, 9], clips).astype(np.int32),
        fps=np.full(clips, 8, np.float32),
        captions=[tuple("x" * n for n in counts) for counts in texts],
        text_tokens=texts,
        split=np.array(["val"] * val + ["train"] * (clips - val), object),
        tokenizer="",
    )


def tokens_of(clips, i):
    size = (int(x[i]) for x in (clips.frames, clips.height, clips.width))
    return int(np.prod(patches.grid(*size, PATCH)))


def check_capacities(clips, rows):
    for row in rows:
        assert sum(p.keep for p in row) <= CFG.row_tokens
        texts = [clips.text_tokens[p.clip][p.caption] for p in row]
        assert sum(texts) <= CFG.text_tokens and len(row) <= CFG.max_segments


def test_rows_hold_the_capacities_and_every_draw_has_its_own_id():
    clips = catalog(400)
    plan = Plan(clips, CFG, 0, PATCH)
    rows = [row for step in range(40) for row in plan.rows(step)]
    assert len(rows) == 160
    check_capacities(clips, rows)
    ids = [p.sample_id for row in rows for p in row]
    assert len(set(ids)) == len(ids)


def test_a_step_is_the_same_whenever_it_is_asked_and_another_seed_gives_other_rows():
    clips = catalog(300)
    plan, late, other = (Plan(clips, CFG, seed, PATCH) for seed in (3, 3, 4))
    early = [plan.rows(step) for step in range(100)]
    assert late.rows(99) == early[99] and late.rows(7) == early[7]
    assert other.rows(7) != early[7]


def test_an_epoch_draws_every_clip_at_most_once_and_leaves_few():
    plan = Plan(catalog(1200, seed=1), CFG, 0, PATCH)
    drawn = [p for step in range(300) for row in plan.rows(step) for p in row]
    for epoch in range(2):  # sample ids count the draws of the stream
        first = [p.clip for p in drawn if epoch <= p.sample_id / 1200 < epoch + 1]
        assert len(set(first)) == len(first)
        assert 1 - len(first) / 1200 < 0.15
    left_over = np.mean([plan.metrics(step)["left_over"] for step in range(0, 300, 4)])
    whole = [p.sample_id for p in drawn if p.sample_id < 2400]
    assert left_over == pytest.approx(1 - len(whole) / 2400, abs=0.01)


def test_clips_of_every_size_are_drawn_alike():
    clips = catalog(2000, seed=2)
    plan = Plan(clips, CFG, 0, PATCH)
    drawn = collections.Counter(
        tokens_of(clips, p.clip) for step in range(600) for row in plan.rows(step) for p in row
    )
    held = collections.Counter(tokens_of(clips, i) for i in range(2000))
    rates = np.array([drawn[size] / held[size] for size in held if held[size] > 50])
    assert len(rates) > 5
    np.testing.assert_allclose(rates / rates.mean(), 1, atol=0.03)


def test_rows_are_full():
    plan = Plan(catalog(2000), CFG, 0, PATCH)
    assert plan.fill(range(100)) > 0.96


def test_fill_is_the_share_of_real_tokens():
    clips = catalog(100)
    plan = Plan(clips, CFG, 0, PATCH)
    used = sum(tokens_of(clips, p.clip) for step in (0, 5) for row in plan.rows(step) for p in row)
    assert plan.fill((0, 5)) == pytest.approx(used / (2 * 4 * 64))


@pytest.mark.parametrize("clips", [1, 3, 20])
def test_a_catalog_of_a_few_clips_fills_rows(clips):
    plan = Plan(catalog(clips), CFG, 0, PATCH)
    placed = [p for step in range(40) for row in plan.rows(step) for p in row]
    assert {p.clip for p in placed} == set(range(clips))
    assert len({p.sample_id for p in placed}) == len(placed)
    counts = collections.Counter(p.clip for p in placed)
    assert max(counts.values()) < 1.3 * min(counts.values())


def test_clips_of_one_size_that_fit_badly_still_all_come():
    clips = catalog(50)
    size = dict(width=32, height=32, frames=5)  # 32 tokens: two a row of 64, one of 48
    same = dataclasses.replace(clips, **{k: np.full(50, v, np.int32) for k, v in size.items()})
    assert Plan(same, CFG, 0, PATCH).fill(range(8)) == 1
    narrow = Plan(same, dataclasses.replace(CFG, row_tokens=48), 0, PATCH)
    assert narrow.fill(range(8)) > 0.63  # 2/3 at best
    assert narrow.metrics(0)["left_over"] < 0.1


def test_caption_and_task_depend_on_seed_and_sample_id_alone():
    weights = TaskWeights(generate=2, animate=1, extend=0, inpaint=1)
    cfg = dataclasses.replace(CFG, tasks=weights)
    # Another way to pack draws the same stream of clips, captions and tasks.
    wide = dataclasses.replace(cfg, row_tokens=96, rows_per_window=8)
    clips = catalog(2000)
    plans = [Plan(clips, c, 5, PATCH) for c in (cfg, wide)]
    first, second = (
        {p.sample_id: p for step in range(100) for row in plan.rows(step) for p in row}
        for plan in plans
    )
    shared = first.keys() & second.keys()
    assert len(shared) > 1000 and all(first[i] == second[i] for i in shared)
    tasks = collections.Counter(list(TASKS)[p.task_id] for p in first.values())
    shares = {name: count / len(first) for name, count in tasks.items()}
    assert shares == pytest.approx({"generate": 0.5, "animate": 0.25, "inpaint": 0.25}, abs=0.04)
    captions = collections.Counter(
        p.caption for p in first.values() if len(clips.captions[p.clip]) == 3
    )
    assert captions.keys() == {0, 1, 2} and min(captions.values()) > 0.28 * captions.total()


def test_only_captions_that_fit_are_chosen():
    clips = catalog(100)
    texts = [(70, n[0], 99) for n in clips.text_tokens]
    plan = Plan(dataclasses.replace(clips, text_tokens=texts), CFG, 0, PATCH)
    assert {p.caption for step in range(8) for row in plan.rows(step) for p in row} == {1}


def test_validation_holds_every_clip_once_in_full_batches():
    clips = catalog(150, val=61)
    plan = Plan(clips, CFG, 0, PATCH)
    batches = plan.validation_rows()
    assert all(len(batch) == CFG.batch_rows for batch in batches)
    rows = [row for batch in batches for row in batch]
    check_capacities(clips, rows)
    placed = sorted(p for row in rows for p in row)
    assert [p.clip for p in placed] == list(range(61))
    assert all((p.sample_id, p.caption, p.task_id) == (p.clip, 0, 0) for p in placed)
    assert Plan(clips, CFG, 9, PATCH).validation_rows() == batches
    train = {p.clip for step in range(40) for row in plan.rows(step) for p in row}
    assert train <= set(range(61, 150))


def test_what_cannot_be_planned_is_refused_by_name():
    clips = catalog(20)
    with pytest.raises(ConfigError, match=r"row_tokens=8: clip clip\d+ .* has \d+ tokens"):
        Plan(clips, dataclasses.replace(CFG, row_tokens=8), 0, PATCH)
    texts = [*clips.text_tokens]
    texts[7] = (70, 90)
    with pytest.raises(ConfigError, match=r"text_tokens=64: clip clip7 .*\[70, 90\]"):
        Plan(dataclasses.replace(clips, text_tokens=texts), CFG, 0, PATCH)
    for empty in (clips.select([]), catalog(5, val=5)):
        with pytest.raises(ConfigError, match="for training"):
            Plan(empty, CFG, 0, PATCH)
    for weights in (TaskWeights(generate=0), TaskWeights(animate=-1)):
        with pytest.raises(ConfigError, match="expected weights"):
            Plan(clips, dataclasses.replace(CFG, tasks=weights), 0, PATCH)
    with pytest.raises(ConfigError, match="seed=-1"):
        Plan(clips, CFG, -1, PATCH)
