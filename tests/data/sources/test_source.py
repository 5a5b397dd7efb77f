import dataclasses
import os
import pickle
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from array_record.python.array_record_module import ArrayRecordWriter

from videodit.config import ConfigError, DataConfig
from videodit.data.sources.catalog import Catalog
from videodit.data.sources.source import ArrayRecordSource, open_source, open_tokenizer
from videodit.data.sources.synthetic import SyntheticSource
from videodit.data.tokenizer import train_tokenizer
from videodit.data.video.files import View, encode, whole

ROOT = Path(__file__).parents[3]


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
            writer.write(encode(read(synthetic, i), float(catalog.fps[i])))
        writer.close()
    rows = np.arange(12, dtype=np.int32)
    shards = np.array([f"{i // 6}.array_record" for i in rows], object)
    catalog = dataclasses.replace(catalog, shard=shards, index=rows % 6)
    catalog.select(rows[::-1]).write(tmp_path)
    return tmp_path


def read(source, i):
    row = source.catalog
    return source.read(i, whole(row.frames[i], row.height[i], row.width[i]))


def near(a, b):
    return a.shape == b.shape and np.abs(a.astype(float) - b).mean() < 3


def test_records_are_the_clips_of_their_rows(folder, synthetic):
    source = ArrayRecordSource(folder)
    assert all(near(read(source, row), read(synthetic, 11 - row)) for row in range(12))
    assert source.parts == ((0, 12, 1.0),)
    # Part of a catalog finds its clips too, though its shards hold others.
    source.catalog.select([1, 8]).write(folder)
    assert near(read(ArrayRecordSource(folder), 1), read(synthetic, 3))


def test_a_view_is_part_of_the_clip(folder):
    source = ArrayRecordSource(folder)
    i = int(np.argmax(source.catalog.frames))
    clip = read(source, i)
    part = source.read(i, View(1, 3, 4, *clip.shape[1:3]))
    np.testing.assert_array_equal(part, clip[1:11:3])
    assert source.read(i, View(0, 2, 2, 24, 16)).shape == (2, 24, 16, 3)


def test_threads_and_pickled_copies_read_the_same(folder):
    source = ArrayRecordSource(folder)
    copy = pickle.loads(pickle.dumps(source))  # before and after its shards are open
    expected = [read(copy, row) for row in range(12)]
    assert list(source.catalog.captions) == list(copy.catalog.captions)
    rows = list(range(12)) * 4
    with ThreadPoolExecutor(8) as pool:
        for row, frames in zip(rows, pool.map(lambda row: read(source, row), rows)):
            np.testing.assert_array_equal(frames, expected[row])
    again = pickle.loads(pickle.dumps(source))
    np.testing.assert_array_equal(read(again, 5), expected[5])


def test_another_process_reads_a_pickled_source(folder, tmp_path):
    """By then this one's catalog may be gone, but not the file that it was made from."""
    source = ArrayRecordSource(folder)
    (tmp_path / "state").write_bytes(pickle.dumps((source, read(source, 3), source.catalog.ids[3])))
    program = (
        "import pickle, sys; source, frames, name = pickle.load(open(sys.argv[1], 'rb'));"
        "from videodit.data.video.files import whole;"
        "assert (source.read(3, whole(*frames.shape[:3])) == frames).all();"
        "assert source.catalog.ids[3] == name"
    )
    environment = os.environ | {"VIDEODIT_CACHE": str(tmp_path / "other")}
    command = [sys.executable, "-c", program, str(tmp_path / "state")]
    subprocess.run(command, env=environment, cwd=ROOT, check=True)


def rewritten(folder, **changes):
    catalog = Catalog.read(folder)
    dataclasses.replace(catalog, **changes).write(folder)
    return ArrayRecordSource(folder)


def test_a_clip_that_is_not_what_the_catalog_says_is_named(folder, synthetic):
    width = synthetic.catalog.width[11::-1].copy()
    width[2] += 8
    source = rewritten(folder, width=width)
    read(source, 1)
    with pytest.raises(ConfigError, match=r"synthetic-0-9, record 3 of 1\.array_record: .*40x32"):
        read(source, 2)


def test_a_missing_record_or_shard_is_named_when_it_is_read(folder):
    index = Catalog.read(folder).index.copy()
    index[0] = 77
    source = rewritten(folder, index=index)
    read(source, 1)
    with pytest.raises(ConfigError, match=r"synthetic-0-11, record 77 of 1\.array_record"):
        read(source, 0)
    (folder / "0.array_record").unlink()
    with pytest.raises(ConfigError, match=r"synthetic-0-0, record 0 of 0\.array_record"):
        read(ArrayRecordSource(folder), 11)


def test_remote_shards_are_fetched_when_they_are_needed(remote, folder, synthetic, tmp_path):
    synthetic.tokenizer.write(folder)
    shutil.copytree(folder, remote / "clips", ignore=shutil.ignore_patterns("gs", "cache"))
    tokenizer = open_tokenizer("gs://bucket/clips")
    source = open_source(DataConfig(catalog="gs://bucket/clips"), tokenizer)
    shards = lambda: sorted(path.name[17:] for path in (tmp_path / "cache").glob("*record"))
    assert shards() == []
    assert near(read(source, 11), read(synthetic, 0)) and shards() == ["0.array_record"]
    assert near(read(pickle.loads(pickle.dumps(source)), 0), read(synthetic, 11))
    assert shards() == ["0.array_record", "1.array_record"]
    (remote / "clips" / "0.array_record").unlink()
    with pytest.raises(ConfigError, match=r"synthetic-0-0, record 0 of 0\.array_record: .*no such"):
        read(pickle.loads(pickle.dumps(source)), 11)


def test_a_mixture_has_the_clips_of_all(folder, synthetic, tmp_path):
    part = tmp_path / "part"
    shutil.copytree(folder, part, ignore=shutil.ignore_patterns("part"))
    Catalog.read(folder).select([7, 2]).write(part)
    cfg = DataConfig(mixture=((str(folder), 3.0), ("synthetic", 1.0), (str(part), 0.5)))
    mixture = open_source(cfg, synthetic.tokenizer)
    assert mixture.parts == ((0, 12, 3.0), (12, 268, 1.0), (268, 270, 0.5))
    catalog, copy = mixture.catalog, pickle.loads(pickle.dumps(mixture))
    assert len(catalog) == 270 and list(copy.catalog.ids) == list(catalog.ids)
    for i, expected in ((0, 11), (11, 0), (12, 0), (30, 18), (268, 4), (269, 9)):
        assert catalog.ids[i] == f"synthetic-0-{expected}"
        assert catalog.captions[i] == synthetic.catalog.captions[expected]
        assert catalog.caption_lengths[i] == synthetic.catalog.caption_lengths[expected]
        assert near(read(mixture, i), read(synthetic, expected))
        assert near(read(copy, i), read(synthetic, expected))


def test_the_same_filter_is_for_every_source_of_a_mixture(folder, synthetic):
    cfg = DataConfig(mixture=((str(folder), 1.0), (str(folder), 1.0)), where="frames = 1")
    mixture = open_source(cfg, synthetic.tokenizer)
    images = np.flatnonzero(synthetic.catalog.frames[11::-1] == 1)
    assert 0 < len(images) < 12 and (mixture.catalog.frames == 1).all()
    assert list(mixture.catalog.ids) == 2 * [f"synthetic-0-{11 - i}" for i in images]
    assert read(mixture, len(images)).shape[0] == 1


def test_any_tokenizer_counts_the_captions_of_any_source(folder, synthetic):
    assert open_tokenizer("synthetic").digest == synthetic.tokenizer.digest
    other = train_tokenizer(["some other words"], 300)
    mixture = DataConfig(mixture=((str(folder), 1.0), ("synthetic", 1.0)))
    for cfg in (DataConfig(catalog=str(folder)), mixture):
        catalog = open_source(cfg, other).catalog
        assert catalog.tokenizer == other.digest
        for i in range(0, len(catalog), 5):
            expected = tuple(len(other.encode(text)) for text in catalog.captions[i])
            assert catalog.caption_lengths[i] == expected
    assert open_source(cfg, synthetic.tokenizer).catalog.tokenizer == synthetic.tokenizer.digest
    other.write(folder)
    assert open_tokenizer(str(folder)).digest == other.digest


@pytest.mark.parametrize(
    "catalog, where, message",
    [
        ("", "", r"data\.catalog=''.*tools\.curate.*tfds:.*synthetic"),
        ("/nowhere", "", r"data\.catalog='/nowhere': no such folder"),
        ("synthetic", "aspect > 1", r"data\.where='aspect > 1'"),
        ("tfds:/nowhere", "", "expected tfds:BUILDER_FOLDER:SPLIT"),
        ("gs://bucket/absent", "", "data.catalog='gs://bucket/absent': no such folder"),
    ],
)
def test_what_is_wrong_is_said(remote, synthetic, catalog, where, message):
    with pytest.raises(ConfigError, match=message):
        open_source(DataConfig(catalog=catalog, where=where), synthetic.tokenizer)


def test_no_tokenizer_named_says_how_to_make_it(synthetic):
    with pytest.raises(ConfigError, match=r"text\.workdir=''"):
        open_tokenizer("")
    source = open_source(DataConfig(catalog="synthetic"), synthetic.tokenizer)
    assert isinstance(source, SyntheticSource)
