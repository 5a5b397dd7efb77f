import dataclasses
import pickle
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tools.bench.made_up import write
from videodit.config import ConfigError
from videodit.data.sources.catalog import FILE, Catalog


def make(n=6, **changes):
    rows = np.arange(n, dtype=np.int32)
    columns = {
        "ids": np.array([f"clip {i} Ä" for i in rows], object),
        "shard": np.array([f"s{i // 4}.array_record" for i in rows], object),
        "index": rows % 4,
        "width": 8 * (rows % 5) + 32,
        "height": 8 * (rows % 3) + 32,
        "frames": 4 * (rows % 4) + 1,
        "fps": np.where(rows % 2, 12, 23.976).astype(np.float32),
        "captions": [(f"caption {i}", "") if i % 3 == 0 else (f"text {i}",) for i in rows],
        "caption_lengths": [(i + 2, 2) if i % 3 == 0 else (5,) for i in rows.tolist()],
        "split": np.array(["val" if i % 4 == 3 else "train" for i in rows], object),
        "tokenizer": "0123abcd",
        "motion": np.where(rows == 2, np.nan, rows / 10).astype(np.float32),
        "static": (rows / 20).astype(np.float32),
    }
    return Catalog(**(columns | changes))


def assert_same(a, b):
    for field in dataclasses.fields(Catalog):
        x, y = getattr(a, field.name), getattr(b, field.name)
        assert list(x) == list(y) or np.array_equal(x, y, equal_nan=True), field.name
        if field.name not in ("split", "tokenizer") and isinstance(x, np.ndarray):
            assert x.dtype == y.dtype, field.name


def test_what_is_written_is_read(tmp_path):
    catalog = make()
    catalog.write(tmp_path / "new")
    back = Catalog.read(tmp_path / "new")
    assert_same(back, catalog)
    assert_same(pickle.loads(pickle.dumps(back)), catalog)
    assert [path.name for path in (tmp_path / "new").iterdir()] == [FILE]  # no temporary is left


def test_select_by_mask_and_by_indices():
    catalog = make()
    val = catalog.select(catalog.split == "val")
    assert len(val) == 1 and val.ids[0] == "clip 3 Ä" and list(val.captions) == [("caption 3", "")]
    picked = catalog.select([4, 0, 4])
    assert list(picked.ids) == [catalog.ids[i] for i in (4, 0, 4)]
    assert list(picked.caption_lengths) == [(5,), (2, 2), (5,)]
    assert picked.width.tolist() == [64, 32, 64]
    assert len(catalog.select([])) == 0
    assert_same(catalog.select([5, 3, 1]).select([2, 0]), catalog.select([1, 5]))


def test_columns_of_measures_may_be_missing(tmp_path):
    make().write(tmp_path)
    rewrite(tmp_path / FILE, lambda table: table.drop_columns(["motion"]))
    catalog = Catalog.read(tmp_path)
    assert np.isnan(catalog.motion).all() and catalog.motion.dtype == np.float32
    np.testing.assert_array_equal(catalog.static, make().static)


def test_catalogs_are_joined(tmp_path):
    parts = [make(3), make(6).select([5, 1]), make(2)]
    parts[0].write(tmp_path)
    parts[0] = Catalog.read(tmp_path)
    joined = Catalog.concatenate(parts)
    assert list(joined.ids) == [name for part in parts for name in part.ids]
    assert list(joined.captions) == [texts for part in parts for texts in part.captions]
    assert list(joined.caption_lengths) == [
        counts for part in parts for counts in part.caption_lengths
    ]
    np.testing.assert_array_equal(joined.width, [32, 40, 48, 32, 40, 32, 40])
    assert joined.select([3]).ids[0] == "clip 5 Ä" and joined.ids[-1] == "clip 1 Ä"
    with pytest.raises(IndexError):
        joined.captions[7]


def test_a_sql_expression_picks_rows_in_their_order(tmp_path):
    make(40).write(tmp_path, {"score": np.arange(40) % 7})
    rows = np.arange(40)
    catalog = make(40)
    for where, mask in (
        ("aspect > 1", catalog.width > catalog.height),
        ("seconds >= 0.4 and split = 'train'", None),
        ("motion > 0.2", catalog.motion > 0.2),  # unknown motion is no motion above 0.2
        ("score = 3 OR ids LIKE '%11%'", (rows % 7 == 3) | (rows == 11)),
        ("len(captions) = 2", rows % 3 == 0),
    ):
        if mask is None:
            mask = (catalog.frames / catalog.fps >= 0.4) & (catalog.split == "train")
        assert 0 < mask.sum() < 40
        assert_same(Catalog.read(tmp_path, where), catalog.select(mask))


@pytest.mark.parametrize(
    "where, message",
    [
        (
            "aspec > 1",
            r'data\.where=.aspec > 1.: .*"aspec" not found.*columns: ids.*aspect, seconds',
        ),
        ("width >", "syntax error"),
        ("width > 1); drop table x; --", "syntax error"),
        ("width = 'wide'", "Could not convert"),
        ("width < 0", "true for no clip"),
        ("motion > 100", "true for no clip"),
    ],
)
def test_a_bad_expression_is_refused(tmp_path, where, message):
    make().write(tmp_path)
    with pytest.raises(ConfigError, match=f"(?s){message}") as caught:
        Catalog.read(tmp_path, where)
    assert repr(where) in str(caught.value)


def test_many_clips_are_read_in_seconds_and_few_bytes(tmp_path):
    write(tmp_path, 100_000)
    start = time.perf_counter()
    catalog = Catalog.read(tmp_path)
    assert len(catalog) == 100_000
    assert time.perf_counter() - start < 2  # 0.05 s alone; ten million take 6 s
    # Captions and ids are not in it: they alone would have 80 MB.
    assert len(pickle.dumps(catalog)) < 8e6


def rewrite(path, change):
    table = pq.read_table(path)
    pq.write_table(change(table).replace_schema_metadata(table.schema.metadata), path)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda table: table.slice(0, 0), "no clips"),
        (lambda table: table.drop_columns(["fps", "split"]), "lacks the columns fps, split"),
        (lambda t: t.set_column(3, "width", pa.array(["a"] * len(t))), "width has the wrong type"),
        (lambda t: t.set_column(3, "width", pa.nulls(len(t), pa.int32())), "missing for 6 clips"),
        (lambda t: t.set_column(7, "captions", pa.array(["a"] * len(t))), "captions: wrong type"),
        (lambda t: t.set_column(0, "ids", pa.nulls(len(t), pa.string())), "ids is missing"),
        (
            lambda t: t.set_column(7, "captions", [[["a", None]] + [["b"]] * 5]),
            "captions is missing",
        ),
    ],
)
def test_a_damaged_catalog_is_refused(tmp_path, change, message):
    make().write(tmp_path)
    rewrite(tmp_path / FILE, change)
    with pytest.raises(ConfigError, match=f"{FILE}: .*{message}"):
        Catalog.read(tmp_path).open_texts()


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"fps": np.array([8, 0, 8], np.float32)}, "fps above 0"),
        (
            {"split": np.array(["test", "valid", "combinations"], object)},
            "a split out of train, val, test, combinations",
        ),
        ({"frames": np.array([1, 0, 1], np.int32)}, "frames of at least 1"),
        ({"caption_lengths": [(2, 2), (), (5,)]}, "a token count for each"),
        ({"caption_lengths": [(2, 2), (5, 5), (5,)]}, "a token count for each"),
    ],
)
def test_impossible_rows_are_refused_by_clip(tmp_path, changes, message):
    make(3, **changes).write(tmp_path)
    with pytest.raises(ConfigError, match=f"clip 1 Ä: expected .*{message}"):
        Catalog.read(tmp_path).open_texts()


def test_missing_and_foreign_files_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"no such catalog; tools\.curate"):
        Catalog.read(tmp_path / "absent")
    (tmp_path / FILE).write_text("not Parquet")
    with pytest.raises(ConfigError, match="not a readable Parquet file"):
        Catalog.read(tmp_path)
    pq.write_table(pa.table({"ids": ["a"]}), tmp_path / FILE)
    with pytest.raises(ConfigError, match="not a videodit catalog"):
        Catalog.read(tmp_path)
