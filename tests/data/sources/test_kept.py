import pickle
import shutil

import numpy as np
import pytest

from tools.bench.made_up import write
from videodit.config import ConfigError
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


def test_any_catalog_can_be_kept(cache):
    catalog = Catalog(
        ids=["a", "b"],
        shard=["s", "s"],
        index=np.arange(2, dtype=np.int32),
        width=np.array([4, 5], np.int32),
        height=np.array([6, 7], np.int32),
        frames=np.array([1, 2], np.int32),
        fps=np.array([1, 24], np.float32),
        captions=[("x", "y"), ("z",)],
        caption_lengths=[(3, 4), (5,)],
        split=np.array(["train", "val"], object),
        tokenizer="t",
    )
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
