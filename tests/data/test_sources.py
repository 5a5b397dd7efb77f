import dataclasses
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from array_record.python.array_record_module import ArrayRecordWriter

from videodit.config import ConfigError
from videodit.data.sources import (
    COLORS,
    ArrayRecordSource,
    SyntheticSource,
    check_tokenizer,
    open_source,
    open_tokenizer,
)
from videodit.data.tokenizer import train_tokenizer
from videodit.data.video import encode


@pytest.fixture(scope="module")
def synthetic():
    return SyntheticSource(64)


@pytest.fixture
def folder(tmp_path, synthetic):
    """Twelve synthetic clips in two shards, the catalog in another order than the records."""
    catalog = synthetic.catalog.select(np.arange(12))
    for shard in range(2):
        writer = ArrayRecordWriter(str(tmp_path / f"{shard}.array_record"), "group_size:1")
        for i in range(6 * shard, 6 * shard + 6):
            writer.write(encode(synthetic.read(i), float(catalog.fps[i])))
        writer.close()
    rows = np.arange(12, dtype=np.int32)
    shards = np.array([f"{i // 6}.array_record" for i in rows], object)
    catalog = dataclasses.replace(catalog, shard=shards, index=rows % 6)
    catalog.select(rows[::-1]).write(tmp_path)
    return tmp_path


def near(a, b):
    return a.shape == b.shape and np.abs(a.astype(float) - b).mean() < 3


def test_records_are_the_clips_of_their_rows(folder, synthetic):
    source = open_source(str(folder))
    assert all(near(source.read(row), synthetic.read(11 - row)) for row in range(12))
    # Part of a catalog finds its clips too, though its shards hold others.
    source.catalog.select([1, 8]).write(folder)
    assert near(ArrayRecordSource(folder).read(1), synthetic.read(3))


def test_threads_and_pickled_copies_read_the_same(folder):
    source = ArrayRecordSource(folder)
    copy = pickle.loads(pickle.dumps(source))  # before and after its shards are open
    expected = [copy.read(row) for row in range(12)]
    assert source.catalog.captions == copy.catalog.captions
    rows = list(range(12)) * 4
    with ThreadPoolExecutor(8) as pool:
        for row, frames in zip(rows, pool.map(source.read, rows)):
            np.testing.assert_array_equal(frames, expected[row])
    again = pickle.loads(pickle.dumps(source))
    np.testing.assert_array_equal(again.read(5), expected[5])


def rewritten(folder, **changes):
    catalog = ArrayRecordSource(folder).catalog
    dataclasses.replace(catalog, **changes).write(folder)
    return ArrayRecordSource(folder)


def test_a_clip_that_is_not_what_the_catalog_says_is_named(folder, synthetic):
    width = synthetic.catalog.width[11::-1].copy()
    width[2] += 8
    source = rewritten(folder, width=width)
    source.read(1)
    with pytest.raises(ConfigError, match=r"synthetic-0-9, record 3 of 1\.array_record: .*says"):
        source.read(2)


def test_a_missing_record_or_shard_is_named(folder):
    index = ArrayRecordSource(folder).catalog.index.copy()
    index[0] = 77
    source = rewritten(folder, index=index)
    source.read(1)
    with pytest.raises(ConfigError, match=r"synthetic-0-11, record 77 of 1\.array_record"):
        source.read(0)
    (folder / "0.array_record").unlink()
    with pytest.raises(ConfigError, match=r"synthetic-0-0, record 0 of 0\.array_record"):
        ArrayRecordSource(folder).read(11)


def test_synthetic_clips_are_what_their_catalog_says(synthetic):
    catalog = synthetic.catalog
    for i in range(len(catalog)):
        clip = synthetic.read(i)
        assert clip.dtype == np.uint8
        assert clip.shape == (catalog.frames[i], catalog.height[i], catalog.width[i], 3)
        assert catalog.text_tokens[i] == (len(synthetic.tokenizer.encode(catalog.captions[i][0])),)
    assert {1, 5, 9, 17} == set(catalog.frames.tolist())
    assert {8, 12, 24} == set(catalog.fps.tolist())
    for size in (catalog.width, catalog.height):
        assert not (size % 8).any() and size.min() >= 32 and size.max() <= 64
    assert (catalog.split == "val").mean() == 1 / 8


def test_synthetic_captions_are_true(synthetic):
    """The colours named are those seen, and each coloured shape goes where the caption says."""
    steps = {"left": (0, -1), "right": (0, 1), "up": (-1, 0), "down": (1, 0)}
    checked = 0
    for i, (caption,) in enumerate(synthetic.catalog.captions):
        clip = synthetic.read(i).astype(int)
        what, background = caption.removesuffix(" background").split(" on a ")
        # The corners of the picture over time: no shape reaches more than one of them at a time.
        corners = clip[:, [0, 0, -1, -1], [0, -1, 0, -1]].reshape(-1, 3)
        assert (np.median(corners, 0) == COLORS[background]).all()
        for part in what.split(" and "):
            color = part.split()[1]
            seen = np.abs(clip - COLORS[color]).max(-1) < 3
            assert seen.any((1, 2)).all(), caption  # in every frame
            if "moves" in part and " and " not in what:
                centres = np.array([np.argwhere(mask).mean(0) for mask in seen])
                motion = centres[-1] - centres[0]
                assert motion @ steps[part.split()[-1]] > 3
                assert abs(motion @ np.array(steps[part.split()[-1]])[::-1]) < 1
                checked += 1
        assert ("moves" in caption) == (len(clip) > 1)
    assert checked > 10


def test_a_synthetic_clip_depends_on_seed_and_index_only(synthetic):
    fewer, other = SyntheticSource(8), SyntheticSource(8, seed=1)
    np.testing.assert_array_equal(fewer.read(5), synthetic.read(5))
    assert fewer.catalog.captions == synthetic.catalog.captions[:8]
    assert other.catalog.captions != fewer.catalog.captions
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(fewer)).read(3), synthetic.read(3))


def test_tokenizers_by_name(folder, synthetic):
    assert open_tokenizer("synthetic").digest == SyntheticSource(4, seed=3).tokenizer.digest
    check_tokenizer(synthetic.catalog, open_tokenizer("synthetic"))
    other = train_tokenizer(["some other words"], 300)
    with pytest.raises(ConfigError, match=f"{other.digest}.*{synthetic.tokenizer.digest}"):
        check_tokenizer(synthetic.catalog, other)
    other.write(folder)
    assert open_tokenizer(str(folder)).digest == other.digest


def test_nothing_named_says_how_to_make_it():
    with pytest.raises(ConfigError, match=r"data\.catalog=''.*tools\.curate.*synthetic"):
        open_source("")
    with pytest.raises(ConfigError, match=r"text\.workdir=''"):
        open_tokenizer("")
    assert isinstance(open_source("synthetic"), SyntheticSource)
