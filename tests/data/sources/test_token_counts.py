import os
import pickle

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from toy_text_encoder import tokenizer_without_bos

from tools.bench.made_up import write
from videodit.config import ConfigError
from videodit.data.sources import token_counts
from videodit.data.sources.catalog import Catalog
from videodit.data.sources.kept import KeptFile
from videodit.data.sources.source import ArrayRecordSource
from videodit.data.tokenizer import train_tokenizer

CLIPS = 40


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("VIDEODIT_CACHE", str(tmp_path / "cache"))
    write(tmp_path / "clips", CLIPS)
    return tmp_path / "clips"


@pytest.fixture(scope="module")
def tokenizer():
    return tokenizer_without_bos(["the quick brown fox jumps over the lazy dog"] * 3, 60)


def assert_counted(catalog, tokenizer):
    assert catalog.tokenizer == tokenizer.digest
    expected = [tuple(len(tokenizer.encode(x)) for x in texts) for texts in catalog.captions]
    assert list(catalog.caption_lengths) == expected


def group(folder, tokenizer):
    return folder / "columns" / f"tokens-{tokenizer.digest}"


def test_another_tokenizer_counts_once_and_beside_the_catalog(folder, tokenizer, monkeypatch):
    before = (folder / "catalog.parquet").read_bytes()
    own = KeptFile(folder, "")
    catalog = ArrayRecordSource(folder, tokenizer=tokenizer).catalog
    assert_counted(catalog, tokenizer)
    assert own.catalog.tokenizer == "made up" and list(own.catalog.ids) == list(catalog.ids)
    assert (folder / "catalog.parquet").read_bytes() == before
    assert os.listdir(group(folder, tokenizer)) == ["counts.parquet"]  # no temporary is left

    def never(*args):
        raise AssertionError("counted again")

    monkeypatch.setattr(token_counts, "_write", never)
    source = ArrayRecordSource(folder, "width > 700", tokenizer)
    assert 0 < len(source.catalog) < CLIPS
    assert_counted(source.catalog, tokenizer)
    assert_counted(pickle.loads(pickle.dumps(source)).catalog, tokenizer)


def test_counts_that_others_made_are_joined_by_id(folder, tokenizer):
    ids = list(Catalog.read(folder).ids)
    counts = [tuple(9 for _ in texts) for texts in Catalog.read(folder).captions]
    order = np.random.default_rng(0).permutation(CLIPS)
    path = group(folder, tokenizer) / "made elsewhere.parquet"
    path.parent.mkdir(parents=True)

    def put(counts):
        columns = {"ids": [ids[i] for i in order], "text_tokens": [counts[i] for i in order]}
        pq.write_table(pa.table(columns), path)

    put(counts)
    assert list(KeptFile(folder, "", tokenizer).catalog.caption_lengths) == counts
    put([*counts[:5], (1, 2, 3), *counts[6:]])
    with pytest.raises(ConfigError, match=rf"elsewhere.parquet: clip {ids[5]} has 3 token counts"):
        KeptFile(folder, "", tokenizer)


def test_a_catalog_that_has_changed_is_counted_anew(folder, tokenizer):
    KeptFile(folder, "", tokenizer)
    write(folder, CLIPS + 3, seed=1)
    catalog = KeptFile(folder, "", tokenizer).catalog
    assert len(catalog) == CLIPS + 3
    assert_counted(catalog, tokenizer)


def test_a_folder_that_cannot_be_written_is_counted_into_the_cache(folder, tokenizer):
    (folder / "columns").write_text("a file where the folder should be")
    for other in (tokenizer, train_tokenizer(["some other words"], 300)):
        assert_counted(KeptFile(folder, "", other).catalog, other)
    assert len(list((folder.parent / "cache").glob("*counts.parquet"))) == 2


def test_a_fingerprint_is_of_the_content_alone(folder, tmp_path):
    write(tmp_path / "same", CLIPS)
    write(tmp_path / "other", CLIPS, seed=2)
    first, same, other = (
        token_counts.fingerprint(path / "catalog.parquet")
        for path in (folder, tmp_path / "same", tmp_path / "other")
    )
    assert first == same != other
