import dataclasses
import itertools
import socket
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import jax
import numpy as np
import pytest

from videodit.config import ConfigError, DataConfig, TaskWeights
from videodit.data import packing
from videodit.data.given import TASKS
from videodit.data.loader import train_batches, validation_batches
from videodit.data.plan import Plan
from videodit.data.sources import SyntheticSource, open_tokenizer
from videodit.data.tokenizer import train_tokenizer

PATCH = (4, 8, 8)
CFG = DataConfig(
    row_tokens=512,
    text_tokens=128,
    max_segments=8,
    batch_rows=4,
    rows_per_window=8,
    tasks=TaskWeights(generate=1, animate=1, inpaint=1),
)
SOURCE = SyntheticSource(clips=24)
TOKENIZER = open_tokenizer("synthetic")


def stream(start_step=0, seed=0, cfg=CFG, source=SOURCE):
    plan = Plan(source.catalog, cfg, seed, PATCH)
    return train_batches(source, plan, TOKENIZER, cfg, PATCH, start_step=start_step)


def take(count, **kwargs):
    with closing(stream(**kwargs)) as batches:
        return list(itertools.islice(batches, count))


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
        np.testing.assert_array_equal(clip, SOURCE.read(i))
    np.testing.assert_array_equal(batch.fps[batch.valid], catalog.fps[ids])
    for row, m in np.argwhere(batch.valid):
        text = batch.text_tokens[row][batch.text_segment_ids[row] == m + 1].tolist()
        assert TOKENIZER.decode(text) in catalog.captions[batch.clip_ids[row, m]]


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
            name = list(TASKS)[batch.task_ids[row, m]]
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
    assert sharded[0].text_tokens.addressable_shards[0].data.shape[1] == 128 // context


def test_a_mesh_that_does_not_divide_the_batch_is_refused(mesh):
    with mesh(data=8), pytest.raises(ConfigError, match=r"data.batch_rows=4: .* multiple of 8"):
        stream()


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
        with closing(validation_batches(SOURCE, plan, TOKENIZER, CFG, PATCH)) as batches:
            batches = jax.device_get(list(batches))
        assert all(batch.tokens.shape == (4, 512, 768) for batch in batches)
        ids = np.concatenate([batch.clip_ids[batch.valid] for batch in batches])
        assert sorted(ids.tolist()) == held_out.tolist()
        assert not any(batch.given.any() for batch in batches)


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


class BrokenSource:
    """The synthetic clips, of which one cannot be read."""

    catalog = SOURCE.catalog

    def read(self, i):
        if i % 2:
            raise ConfigError(f"clip {self.catalog.ids[i]} is broken")
        return SOURCE.read(i)


def test_a_broken_clip_is_named():
    named = pytest.raises(ConfigError, match=r"clip .* is broken")
    with closing(stream(source=BrokenSource())) as batches, named:
        list(itertools.islice(batches, 10))


def test_another_tokenizer_is_refused():
    other = train_tokenizer(["a red square", "a blue circle"], 300)
    plan = Plan(SOURCE.catalog, CFG, 0, PATCH)
    with pytest.raises(ConfigError, match="tokenizer"):
        train_batches(SOURCE, plan, other, CFG, PATCH, start_step=0)


PROCESS = """
import dataclasses
import sys

import jax
import numpy as np

port, process, out = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 2)
jax.distributed.initialize(f"localhost:{port}", num_processes=2, process_id=process)

from tests.data import test_loader
from videodit.config import MeshConfig
from videodit.sharding import make_mesh


class CountingSource:
    catalog, ids = test_loader.SOURCE.catalog, []

    def read(self, i):
        self.ids.append(i)
        return test_loader.SOURCE.read(i)


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
