import os
import pickle
import shutil
import tracemalloc

import numpy as np
import pytest

from tools.bench.made_up import write
from videodit.config import ConfigError
from videodit.data.sources import columns
from videodit.data.sources.catalog import FILE, Catalog
from videodit.data.sources.columns import Ragged, Texts
from videodit.data.sources.kept import KeptFile, keep

ARRAYS = ("index", "width", "height", "frames", "fps", "motion", "static", "split")


def assert_same(a, b):
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    for name in ("ids", "shard", "captions", "caption_lengths"):
        assert list(getattr(a, name)) == list(getattr(b, name))
    assert a.tokenizer == b.tokenizer


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("VIDEODIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def folder(tmp_path):
    write(tmp_path / "clips", 500)
    return tmp_path / "clips"


@pytest.mark.parametrize("where", ["", "motion > 0.01 and len(captions) = 2"])
def test_a_kept_catalog_is_the_one_that_was_read(cache, folder, where):
    source, read = KeptFile(folder, where), Catalog.read(folder, where)
    assert_same(source.catalog, read)
    assert source.parts == ((0, len(read), 1.0),) and 0 < len(read) <= 500
    assert_same(pickle.loads(pickle.dumps(source)).catalog, read)
    for name in ARRAYS:
        assert not getattr(source.catalog, name).flags.owndata  # mapped


def test_a_source_is_pickled_as_names_of_files(cache, folder):
    source = KeptFile(folder, "motion > 0.01")
    state = pickle.dumps(source)
    assert len(state) < 1000
    source.catalog.open_texts()
    # It lasts as long as the cache, even if the catalog is written anew or gone.
    (folder / FILE).unlink()
    assert_same(pickle.loads(state).catalog, source.catalog)


def test_what_the_cache_has_lost_is_made_again(cache, folder):
    source = KeptFile(folder, "")
    state, expected = pickle.dumps(source), Catalog.read(folder)
    shutil.rmtree(cache)
    assert_same(pickle.loads(state).catalog, expected)


def test_a_catalog_that_changed_meanwhile_is_refused(cache, folder):
    state = pickle.dumps(KeptFile(folder, ""))
    write(folder, 400)
    shutil.rmtree(cache)
    with pytest.raises(ConfigError, match=f"{FILE} has changed since it was opened"):
        _ = pickle.loads(state).catalog
    assert len(KeptFile(folder, "").catalog) == 400


def in_memory(text="x"):
    return Catalog(
        ids=["a", "b"],
        shard=["s", "s"],
        index=np.arange(2, dtype=np.int32),
        width=np.array([4, 5], np.int32),
        height=np.array([6, 7], np.int32),
        frames=np.array([1, 2], np.int32),
        fps=np.array([1, 24], np.float32),
        captions=[(text, "y"), ("z",)],
        caption_lengths=[(3, 4), (5,)],
        split=np.array(["train", "val"], object),
        tokenizer="t",
    )


def test_any_catalog_can_be_kept(cache):
    catalog = in_memory()
    made = []
    for _ in range(2):
        kept = keep("key", lambda: made.append(1) or catalog)
        assert_same(kept, catalog)
    assert made == [1]
    assert isinstance(kept.ids, Texts) and isinstance(kept.caption_lengths, Ragged)
    assert (
        kept.caption_lengths.offsets.dtype == np.int64
        and kept.caption_lengths.values.dtype == np.int32
    )


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def damages(path, trap):
    """What may stand in a file of the cache in place of its content."""
    whole = path.read_bytes()
    return b"", whole[: len(whole) // 2], whole[:-1], bytes(len(whole)), pickle.dumps(Trap(trap))


def test_nothing_of_the_cache_is_unpickled_and_what_is_damaged_is_made_again(cache, tmp_path):
    catalog = in_memory()
    keep("key", lambda: catalog)
    (folder,) = cache.glob("*-catalog")
    for path in sorted(folder.iterdir()):
        for data in damages(path, tmp_path / "trap"):
            path.write_bytes(data)
            assert_same(keep("key", lambda: catalog), catalog)
            assert not (tmp_path / "trap").exists()


def test_damaged_texts_of_the_cache_are_made_again(cache, folder, tmp_path):
    expected = Catalog.read(folder)
    for number in range(4):
        source = KeptFile(folder, "")
        source.catalog.open_texts()
        (path,) = cache.glob("*-texts.arrow")
        path.write_bytes(damages(path, tmp_path / "trap")[number])
        columns._map.cache_clear()
        assert_same(KeptFile(folder, "").catalog, expected)


def test_texts_of_a_catalog_in_memory_are_mapped_too(cache):
    size = 8_000_000
    for _ in range(2):
        tracemalloc.start()
        kept = keep("key", lambda: in_memory("ä" * (size // 2)))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < size / 100  # the second time it is only opened
    assert len(kept.captions[0][0]) == size // 2
