import dataclasses
import pickle
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from videodit.config import ConfigError
from videodit.data.catalog import FILE, Catalog


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
        "text_tokens": [(i + 2, 2) if i % 3 == 0 else (5,) for i in rows.tolist()],
        "split": np.array(["val" if i % 4 == 3 else "train" for i in rows], object),
        "tokenizer": "0123abcd",
    }
    return Catalog(**(columns | changes))


def assert_same(a, b):
    for field in dataclasses.fields(Catalog):
        x, y = getattr(a, field.name), getattr(b, field.name)
        if isinstance(x, np.ndarray):
            np.testing.assert_array_equal(x, y)
            assert x.dtype == y.dtype, field.name
        else:
            assert x == y, field.name


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
    assert len(val) == 1 and val.ids[0] == "clip 3 Ä" and val.captions == [("caption 3", "")]
    picked = catalog.select([4, 0, 4])
    assert picked.ids.tolist() == [catalog.ids[i] for i in (4, 0, 4)]
    assert picked.text_tokens == [(5,), (2, 2), (5,)]
    assert picked.width.tolist() == [64, 32, 64]
    assert len(catalog.select([])) == 0


def test_many_captions_are_read_in_seconds(tmp_path):
    n = 100_000
    make(n).write(tmp_path)
    start = time.perf_counter()
    assert len(Catalog.read(tmp_path)) == n
    assert time.perf_counter() - start < 2  # 0.2 s alone on a laptop core; 1M rows take ten times


def rewrite(path, change):
    table = pq.read_table(path)
    pq.write_table(change(table).replace_schema_metadata(table.schema.metadata), path)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda table: table.slice(0, 0), "no clips"),
        (lambda table: table.drop_columns(["fps", "split"]), "lacks the columns fps, split"),
        (lambda t: t.set_column(3, "width", pa.array(["a"] * len(t))), "wrong type"),
    ],
)
def test_a_damaged_catalog_is_refused(tmp_path, change, message):
    make().write(tmp_path)
    rewrite(tmp_path / FILE, change)
    with pytest.raises(ConfigError, match=f"{FILE}: .*{message}"):
        Catalog.read(tmp_path)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"fps": np.array([8, 0, 8], np.float32)}, "fps above 0"),
        ({"split": np.array(["train", "test", "val"], object)}, "a split of train or val"),
        ({"frames": np.array([1, 0, 1], np.int32)}, "frames of at least 1"),
        ({"text_tokens": [(2, 2), (), (5,)]}, "a token count for each"),
    ],
)
def test_impossible_rows_are_refused_by_clip(tmp_path, changes, message):
    make(3, **changes).write(tmp_path)
    with pytest.raises(ConfigError, match=f"clip 1 Ä: expected .*{message}"):
        Catalog.read(tmp_path)


def test_missing_and_foreign_files_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"no such catalog; tools\.curate"):
        Catalog.read(tmp_path / "absent")
    (tmp_path / FILE).write_text("not Parquet")
    with pytest.raises(ConfigError, match="not a readable Parquet file"):
        Catalog.read(tmp_path)
    pq.write_table(pa.table({"ids": ["a"]}), tmp_path / FILE)
    with pytest.raises(ConfigError, match="not a videodit catalog"):
        Catalog.read(tmp_path)
