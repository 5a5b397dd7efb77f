import logging

import numpy as np
import pytest

from videodit.config import ConfigError
from videodit.data.sources import indexing
from videodit.data.sources.catalog import FILE, Catalog
from videodit.data.sources.indexing import Index, IndexedClip, make_catalog, run_all
from videodit.data.sources.source import open_tokenizer

TOKENIZER = open_tokenizer("synthetic")


def clip(i):
    return IndexedClip(
        f"clip {i}", "s", i, 8 + i, 16, 1 + i, 12.5, (f"text {i}", ""), "train", 0.1, 0.25
    )


def test_the_catalog_is_that_of_the_clips():
    catalog = make_catalog([clip(2), clip(0)], TOKENIZER)
    assert list(catalog.ids) == ["clip 2", "clip 0"] and catalog.width.tolist() == [10, 8]
    assert catalog.width.dtype == np.int32 and catalog.fps.tolist() == [12.5, 12.5]
    assert catalog.caption_lengths[0] == (len(TOKENIZER.encode("text 2")), 2)
    assert catalog.motion.tolist() == pytest.approx([0.1, 0.1]) and catalog.static[1] == 0.25


def test_an_index_knows_what_was_written(tmp_path):
    index = Index(tmp_path)
    assert index.clips == {}
    index.update([clip(0), clip(1)], ["stamp 0", "stamp 1"], TOKENIZER)
    again = Index(tmp_path)
    stored, stamp = again.clips["clip 1"]
    assert stamp == "stamp 1" and stored._replace(motion=0.1) == clip(1)
    written = (tmp_path / FILE).stat().st_mtime_ns
    again.update([c for c, _ in again.clips.values()], ["stamp 0", "stamp 1"], TOKENIZER)
    assert (tmp_path / FILE).stat().st_mtime_ns == written
    again.update([c for c, _ in again.clips.values()], ["stamp 0", "other"], TOKENIZER)
    assert Index(tmp_path).clips["clip 1"][1] == "other"
    assert list(Catalog.read(tmp_path).ids) == ["clip 0", "clip 1"]


def test_a_damaged_index_is_made_anew(tmp_path):
    (tmp_path / FILE).write_bytes(b"not Parquet")
    index = Index(tmp_path)
    assert index.clips == {}
    index.update([clip(0)], ["stamp"], TOKENIZER)
    assert list(Index(tmp_path).clips) == ["clip 0"]


def test_what_fails_is_named_and_the_order_stays(monkeypatch, caplog):
    monkeypatch.setattr(indexing, "PROGRESS_SECONDS", 0.0)

    def half(i):
        if i % 2:
            raise ConfigError(f"{i} is odd")
        return i // 2

    with caplog.at_level(logging.INFO):
        assert run_all(half, range(5), 5, "halving") == [0, None, 1, None, 2]
    assert "left out: 3 is odd" in caplog.text and "halving: 4 of 5, " in caplog.text
