import dataclasses
import itertools
import logging
import re
import socket
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import jax
import numpy as np
import pytest
from odd_sources import OddSource, StoredSource

from tools.bench.loader import digest
from videodit.config import ConfigError, DataConfig, ModeWeights, ViewConfig
from videodit.data import packing
from videodit.data.broken import LOST, Broken
from videodit.data.loader import (
    check_readable,
    host_batches,
    place,
    train_batches,
    validation_batches,
)
from videodit.data.planning.given import MODES
from videodit.data.planning.plan import Plan
from videodit.data.sources.source import open_tokenizer
from videodit.data.tokenizer import train_tokenizer
from videodit.data.video.files import whole

PATCH = (4, 8, 8)
CFG = DataConfig(
    row_tokens=512,
    text_tokens=128,
    max_segments=8,
    batch_rows=4,
    rows_per_group=8,
    modes=ModeWeights(generate=1, animate=1, inpaint=1),
)
SOURCE = StoredSource(clips=24)
TOKENIZER = open_tokenizer("synthetic")


def stream(start_step=0, seed=0, cfg=CFG, source=SOURCE):
    plan = Plan(source.catalog, cfg, seed, PATCH)
    return train_batches(source, plan, TOKENIZER, PATCH, start_step=start_step)


def take(count, **kwargs):
    with closing(stream(**kwargs)) as batches:
        return list(itertools.islice(batches, count))


def read_whole(i, source=SOURCE):
    catalog = source.catalog
    size = (catalog.frames[i], catalog.height[i], catalog.width[i])
    return source.read(i, whole(*map(int, size)))


def assert_equal(a, b):
    for name, x, y in zip(a._fields, a, b):
        np.testing.assert_array_equal(np.asarray(x), np.asarray(y), err_msg=name)


def test_step_n_is_the_same_from_any_start_and_with_any_threads():
    batches = take(6)
    assert_equal(take(1, start_step=5)[0], batches[5])
    assert_equal(take(3, cfg=dataclasses.replace(CFG, threads=5))[2], batches[2])
    assert (np.asarray(batches[0].clip_ids) != np.asarray(batches[1].clip_ids)).any()
    other = take(1, seed=1)[0]
    assert (np.asarray(other.clip_ids) != np.asarray(batches[0].clip_ids)).any()


def test_a_batch_holds_the_frames_and_captions_of_its_clips():
    batch = jax.device_get(take(1)[0])
    ids, catalog = batch.clip_ids[batch.valid], SOURCE.catalog
    sizes = [(catalog.frames[i], catalog.height[i], catalog.width[i]) for i in ids]
    clips = packing.unpack(batch.tokens, batch, PATCH, sizes)
    assert len(clips) == len(ids) > 4
    for i, clip in zip(ids, clips):
        np.testing.assert_array_equal(clip, read_whole(i))
    np.testing.assert_array_equal(batch.fps[batch.valid], catalog.fps[ids])
    for row, m in np.argwhere(batch.valid):
        text = batch.text_ids[row][batch.text_segment_ids[row] == m + 1].tolist()
        assert TOKENIZER.decode(text) in catalog.captions[batch.clip_ids[row, m]]


@pytest.mark.parametrize("turned, index", [
    ({"mirror": ((0, 1.0),)}, np.s_[:, :, ::-1]),
    ({"reverse": ((0, 1.0),)}, np.s_[::-1]),
    ({"mirror": ((0, 1.0),), "reverse": ((0, 1.0),)}, np.s_[::-1, :, ::-1]),
])  # fmt: skip
def test_mirrored_and_reversed_clips(turned, index):
    cfg = dataclasses.replace(CFG, views=ViewConfig(**turned))
    batch, catalog = jax.device_get(take(1, cfg=cfg)[0]), SOURCE.catalog
    ids = batch.clip_ids[batch.valid]
    sizes = [(catalog.frames[i], catalog.height[i], catalog.width[i]) for i in ids]
    for i, clip in zip(ids, packing.unpack(batch.tokens, batch, PATCH, sizes), strict=True):
        np.testing.assert_array_equal(clip, read_whole(i)[index])


def test_segments_do_not_share_tokens_and_padding_ends_the_row():
    for batch in jax.device_get(take(3)):
        for ids, valid, grids in zip(batch.segment_ids, batch.valid, batch.grids):
            real = int(np.count_nonzero(ids))
            assert real <= CFG.row_tokens and not ids[real:].any()
            assert (np.diff(ids[:real]) >= 0).all()
            counts = np.bincount(ids, minlength=CFG.max_segments + 1)[1:]
            np.testing.assert_array_equal(counts, grids.prod(-1))
            np.testing.assert_array_equal(counts > 0, valid)


def test_given_tokens_follow_the_task():
    seen = set()
    for batch in jax.device_get(take(4)):
        for row, m in np.argwhere(batch.valid):
            here = batch.segment_ids[row] == m + 1
            mask = batch.given[row][here].reshape(batch.grids[row, m])
            name = list(MODES)[batch.mode_ids[row, m]]
            assert mask.any() == (name != "generate")
            if name == "animate":
                assert mask[0].all() and not mask[1:].any()
            seen.add(name)
            slots = batch.noise_slot_ids[row][here]
            np.testing.assert_array_equal(slots, 2 * m + mask.reshape(-1))
    assert seen == {"generate", "animate", "inpaint"}


@pytest.mark.parametrize("shape", [(2, 2, 2, 1), (1, 1, 4, 2), (4, 1, 1, 2)])
def test_a_sharded_batch_equals_the_unsharded_one(mesh, shape):
    plain = take(2)
    with mesh(*shape):
        sharded = take(2)
    data, fsdp, context, _ = shape
    for a, b in zip(plain, sharded):
        assert_equal(a, b)
    tokens = sharded[0].tokens.addressable_shards[0].data
    assert tokens.shape == (4 // (data * fsdp), 512 // context, 768)
    assert sharded[0].text_ids.addressable_shards[0].data.shape[1] == 128 // context


def test_a_mesh_that_does_not_divide_the_batch_is_refused(mesh):
    with mesh(data=8), pytest.raises(ConfigError, match=r"data.batch_rows=4: .* multiple of 8"):
        stream()


def test_rows_that_the_mesh_does_not_divide_are_followed_by_empty_ones(mesh):
    three = packing.PackedBatch(*(x[:3] for x in jax.device_get(take(1)[0])))
    assert three.valid.any(1).all()
    with mesh(data=2, fsdp=2, context=2):
        placed = place(three)
    assert placed.tokens.addressable_shards[0].data.shape == (1, 256, 768)
    placed = jax.device_get(placed)
    assert_equal(packing.PackedBatch(*(x[:3] for x in placed)), three)
    values, sizes = 768, dict(row_tokens=512, text_tokens=128, max_segments=three.valid.shape[1])
    assert_equal(
        packing.PackedBatch(*(x[3:] for x in placed)), packing.empty_batch(1, values, **sizes)
    )


def test_transfers_are_explicit(mesh):
    # The context manager would guard this thread alone, and the loader's own does the transfers.
    before = jax.config.jax_transfer_guard
    jax.config.update("jax_transfer_guard", "disallow")
    try:
        take(2)
        with mesh(data=2, context=2):
            take(2)
    finally:
        jax.config.update("jax_transfer_guard", before)


def test_validation_covers_every_held_out_clip_once():
    held_out = np.flatnonzero(np.asarray(SOURCE.catalog.split) == "val")
    plan = Plan(SOURCE.catalog, CFG, 0, PATCH)
    for _ in range(2):  # it can be asked for again
        with closing(validation_batches(SOURCE, plan, TOKENIZER, PATCH)) as batches:
            batches = jax.device_get(list(batches))
        assert all(batch.tokens.shape == (4, 512, 768) for batch in batches)
        ids = np.concatenate([batch.clip_ids[batch.valid] for batch in batches])
        assert sorted(ids.tolist()) == held_out.tolist()
        assert not any(batch.given.any() for batch in batches)


def test_longer_rows_of_validation_hold_the_same_clips():
    cfg = dataclasses.replace(CFG, evaluation_rows=2)
    plan = Plan(SOURCE.catalog, cfg, 0, PATCH)
    batches = jax.device_get(list(validation_batches(SOURCE, plan, TOKENIZER, PATCH)))
    assert {batch.tokens.shape for batch in batches} == {(2, 1024, 768)}
    assert {batch.valid.shape for batch in batches} == {(2, 16)}
    held_out = np.flatnonzero(np.asarray(SOURCE.catalog.split) == "val")
    ids = np.concatenate([batch.clip_ids[batch.valid] for batch in batches])
    assert sorted(ids.tolist()) == held_out.tolist()


def test_closing_ends_the_threads():
    before = set(threading.enumerate())
    batches = stream()
    next(batches)
    started = set(threading.enumerate()) - before
    assert started
    batches.close()
    for thread in started:
        thread.join(timeout=5)
    assert not any(thread.is_alive() for thread in started)


# The plan below crops time, turns, thins out and gives tokens: all that is drawn.
DRAWN = dataclasses.replace(
    CFG,
    row_tokens=256,
    views=ViewConfig(
        sides=((0, 24, 56),),
        seconds=((0, 0.2, 2.0),),
        rates=((0, 6.0, 12.0),),
        drop=((0, 0.5, 1.0, 2.0),),
        drop_static=((0, 0.5),),
        mirror=((0, 0.5),),
        reverse=((0, 0.5),),
    ),
)


def host_digests(hosts, steps, cfg=DRAWN):
    """Hashes of the global batches of `steps`, put together from the rows of so many hosts."""
    plan, share = Plan(SOURCE.catalog, cfg, 0, PATCH), cfg.batch_rows // hosts
    streams = [
        host_batches(
            SOURCE,
            plan,
            TOKENIZER,
            PATCH,
            rows=range(host * share, (host + 1) * share),
            start_step=steps.start,
            stop_step=steps.stop,
        )
        for host in range(hosts)
    ]
    parts = zip(*streams, strict=True)
    return [digest(packing.PackedBatch(*map(np.concatenate, zip(*part)))) for part in parts]


def test_fifty_global_batches_are_the_same_from_any_hosts_workers_and_starts():
    steps = range(50)
    digests = host_digests(1, steps)
    assert len(set(digests)) == 50
    assert host_digests(2, steps) == digests
    assert host_digests(1, steps, dataclasses.replace(DRAWN, workers=2)) == digests
    stop = int(np.random.default_rng().integers(1, 50))
    resumed = host_digests(2, range(stop)) + host_digests(4, range(stop, 50))
    assert resumed == digests, f"stopped after {stop}"


def test_a_broken_clip_is_named_once_and_replaced_by_a_spare_that_fits(caplog):
    cfg, broken = dataclasses.replace(CFG, max_broken=1.0), {1, 4, 9, 14, 18}
    plan = Plan(SOURCE.catalog, cfg, 0, PATCH)
    with caplog.at_level(logging.WARNING):
        batches = jax.device_get(take(8, cfg=cfg, source=OddSource(refuse=broken)))
    names = re.findall(r"clip (\S+) is cut short", caplog.text)
    assert sorted(names) == sorted({str(SOURCE.catalog.ids[i]) for i in broken})
    replaced = 0
    for step, batch in enumerate(batches):
        for at, row in enumerate(plan.rows(step)):
            counts = np.bincount(batch.segment_ids[at], minlength=CFG.max_segments + 1)[1:]
            texts = np.bincount(batch.text_segment_ids[at], minlength=CFG.max_segments + 1)[1:]
            for slot, placed in enumerate(row):
                found = int(batch.clip_ids[at, slot])
                assert batch.replaced[at, slot] == (placed.clip in broken)
                if placed.clip not in broken:
                    assert found == placed.clip and counts[slot] == placed.keep
                    continue
                replaced += 1
                assert found not in broken and batch.valid[at, slot] == (found >= 0)
                text = SOURCE.catalog.caption_lengths[placed.clip][placed.caption]
                assert counts[slot] <= placed.keep and texts[slot] <= text
            assert not batch.replaced[at, len(row) :].any()
    assert replaced > 10


def test_what_replaces_a_broken_clip_does_not_depend_on_hosts_or_threads():
    cfg = dataclasses.replace(DRAWN, max_broken=1.0)
    source, plan = OddSource(refuse=[1, 4, 9]), Plan(SOURCE.catalog, cfg, 0, PATCH)
    whole_batches = jax.device_get(take(6, cfg=cfg, source=source))
    assert any(batch.replaced.any() for batch in whole_batches)
    for rows in (range(0, 2), [3]):
        part = host_batches(source, plan, TOKENIZER, PATCH, rows=rows, start_step=3, stop_step=6)
        for a, b in zip(whole_batches[3:], part, strict=True):
            assert_equal(packing.PackedBatch(*(x[list(rows)] for x in a)), b)


def test_a_slot_without_any_readable_clip_is_padding():
    cfg = dataclasses.replace(CFG, max_broken=1.0)
    broken = set(range(0, 24, 2))  # many a spare is broken too
    empty = 0
    for batch in jax.device_get(take(8, cfg=cfg, source=OddSource(refuse=broken))):
        gaps = batch.replaced & ~batch.valid
        empty += gaps.sum()
        for row, m in np.argwhere(gaps):
            assert not (batch.segment_ids[row] == m + 1).any()
            assert not (batch.text_segment_ids[row] == m + 1).any()
            assert batch.clip_ids[row, m] == -1 and not batch.grids[row, m].any()
    assert empty


def test_validation_leaves_a_broken_clip_out():
    held_out = np.flatnonzero(np.asarray(SOURCE.catalog.split) == "val").tolist()
    plan, source = Plan(SOURCE.catalog, CFG, 0, PATCH), OddSource(refuse=[held_out[0]])
    batches = jax.device_get(list(validation_batches(source, plan, TOKENIZER, PATCH)))
    ids = np.concatenate([batch.clip_ids[batch.valid] for batch in batches])
    assert sorted(ids.tolist()) == held_out[1:]
    assert sum(batch.replaced.sum() for batch in batches) == 1


def test_too_many_broken_clips_stop_the_run_with_a_list():
    broken = {1, 4, 9, 14, 18}
    stopped = pytest.raises(ConfigError, match=r"data\.max_broken=0\.01: \d+ of the \d+ clips")
    with closing(stream(source=OddSource(refuse=broken))) as batches, stopped as error:
        list(itertools.islice(batches, 100))
    lines = str(error.value).splitlines()[1:]
    assert {int(line.split()[1].rsplit("-", 1)[1]) for line in lines} <= broken
    assert len(lines) >= 3 and all("is cut short" in line for line in lines)


def test_data_without_a_readable_clip_are_refused_with_the_reasons():
    source = OddSource(refuse=range(24))
    plan = Plan(source.catalog, CFG, 0, PATCH)
    training = np.flatnonzero(np.asarray(source.catalog.split) == "train")
    head = f"^data.catalog: none of the {len(training)} clips that were tried can be read\n"
    with pytest.raises(ConfigError, match=head) as error:
        check_readable(source, plan, TOKENIZER, PATCH)
    named = re.findall(r"clip (\S+) is cut short", str(error.value))
    assert set(named) <= {str(source.catalog.ids[i]) for i in training} and len(set(named)) == 20


def test_one_readable_clip_is_enough_to_begin(caplog):
    source = OddSource(refuse=set(range(24)) - {20})
    check_readable(source, Plan(source.catalog, CFG, 0, PATCH), TOKENIZER, PATCH)
    assert not caplog.records  # the stream of batches names the broken ones


def test_a_source_that_loses_all_its_clips_stops_the_run_whatever_may_be_broken():
    cfg, source = dataclasses.replace(CFG, max_broken=1.0, threads=1), OddSource()
    stopped = pytest.raises(ConfigError, match=r"^data.catalog: not one of the last 20 clips")
    with closing(stream(cfg=cfg, source=source)) as batches, stopped as error:
        next(batches)
        source.odd = dict.fromkeys(range(24), "refuse")
        list(itertools.islice(batches, 100))
    assert "is cut short" in str(error.value)


def test_a_lost_source_of_a_mixture_is_named_once(caplog):
    account = Broken([f"c{i}" for i in range(8)], 1.0, {"A": range(4), "B": range(4, 8)})
    for turn in range(2 * LOST):
        account.judge(turn % 4, True)
        account.add(4 + turn % 4, "no such file")
        account.judge(4 + turn % 4, False)
    message = "data.mixture: not one of the last 20 clips of 'B' can be read: clip c7: no such file"
    assert [r.getMessage() for r in caplog.records if "mixture" in r.getMessage()] == [message]


def test_another_tokenizer_is_refused():
    other = train_tokenizer(["a red square", "a blue circle"], 300)
    plan = Plan(SOURCE.catalog, CFG, 0, PATCH)
    with pytest.raises(ConfigError, match="tokenizer"):
        train_batches(SOURCE, plan, other, PATCH, start_step=0)


PROCESS = """
import dataclasses
import sys

import jax
import numpy as np

port, process, out = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 2)
jax.distributed.initialize(f"localhost:{port}", num_processes=2, process_id=process)

sys.path[:0] = ["tests", "tests/data"]
import test_loader

from videodit.config import MeshConfig
from videodit.sharding import make_mesh


class CountingSource:
    catalog, ids = test_loader.SOURCE.catalog, []

    def read(self, i, view):
        self.ids.append(i)
        return test_loader.SOURCE.read(i, view)


with jax.set_mesh(make_mesh(MeshConfig(data=2, context=2))):
    cfg = dataclasses.replace(test_loader.CFG, threads=1)
    batches = test_loader.stream(start_step=3, cfg=cfg, source=CountingSource())
    batch = next(batches)
    batches.close()
shards = {f"{s.index[0].start},{s.index[1].start}": s.data for s in batch.tokens.addressable_shards}
np.savez(out, ids=CountingSource.ids, **{k: np.asarray(v) for k, v in shards.items()})
"""


@pytest.mark.slow
def test_each_of_two_processes_reads_its_own_rows(tmp_path):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    outs = [str(tmp_path / f"{i}.npz") for i in range(2)]
    command = [sys.executable, "-c", PROCESS, str(port)]
    root = Path(__file__).parents[2]
    children = [subprocess.Popen([*command, str(i), out], cwd=root) for i, out in enumerate(outs)]
    assert [child.wait(timeout=120) for child in children] == [0, 0]
    whole, plan = take(1, start_step=3)[0], Plan(SOURCE.catalog, CFG, 0, PATCH)
    for process, out in enumerate(outs):
        held = dict(np.load(out))
        first = 2 * process
        # One thread reads in order: exactly the clips of its own rows, of this step and ahead.
        own = [
            p.clip for step in range(3, 9) for r in plan.rows(step)[first : first + 2] for p in r
        ]
        ids = held.pop("ids").tolist()
        assert 0 < len(ids) <= len(own) and ids == own[: len(ids)]
        assert held.keys() == {f"{first},0", f"{first},256"}
        for length in (0, 256):
            expected = np.asarray(whole.tokens)[first : first + 2, length : length + 256]
            np.testing.assert_array_equal(held[f"{first},{length}"], expected)
