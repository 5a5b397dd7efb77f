import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tools.bench.made_up import write
from videodit.config import ConfigError
from videodit.data.sources.catalog import Catalog
from videodit.data.sources.kept import KeptFile

CLIPS = 60


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("VIDEODIT_CACHE", str(tmp_path / "cache"))
    write(tmp_path / "clips", CLIPS)
    return tmp_path / "clips"


def scores(ids):
    """A score that follows from the name of a clip."""
    return [int(name.split()[1]) % 7 / 7 for name in ids]


def put(folder, ids, group="scores", file="a", **columns):
    path = folder / "columns" / group / f"{file}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"ids": ids, **(columns or {"score": scores(ids)})}), path)
    return path


def test_where_names_columns_of_several_files_in_any_order(folder):
    ids = np.array(list(Catalog.read(folder).ids))
    mixed = np.random.default_rng(0).permutation(CLIPS)
    put(folder, [*ids[mixed[:20]], "clip 999999999"])
    put(folder, ids[mixed[20:]], file="b")
    put(folder, ids, group="others", Sharpness=np.arange(CLIPS))  # in the catalog's order
    expected = [name for i, name in enumerate(ids) if scores([name])[0] > 0.5 and i < 30]
    assert 0 < len(expected) < 30
    where = "score > 0.5 and sharpness < 30"
    assert list(Catalog.read(folder, where).ids) == expected
    assert list(KeptFile(folder, where).catalog.ids) == expected
    # A file that no expression names is not read.
    put(folder, ids[:3], file="c")
    assert len(Catalog.read(folder, "sharpness < 30 and width > 0")) == 30


def test_what_is_kept_follows_the_files(folder):
    ids = list(Catalog.read(folder).ids)
    put(folder, ids)
    before = KeptFile(folder, "score > 0.5")
    put(folder, ids, score=[float(i == 7) for i in range(CLIPS)])
    after = KeptFile(folder, "score > 0.5")
    assert before.key != after.key and list(after.catalog.ids) == [ids[7]]
    assert KeptFile(folder, "").key == KeptFile(folder, "").key


def test_bad_files_are_named(folder):
    def refused(pattern, where="score > 0.5"):
        with pytest.raises(ConfigError, match=pattern) as error:
            Catalog.read(folder, where)
        assert "\n" not in str(error.value)

    ids = list(Catalog.read(folder).ids)
    put(folder, ids[:-2])
    refused(rf"scores/a\.parquet: clip {ids[-2]} and 1 others are missing")
    second = put(folder, ids[-2:-1], file="b")
    refused(rf"scores/\*\.parquet: clip {ids[-1]} is missing")
    put(folder, [ids[-1], ids[3]], file="b")
    put(folder, ids[:-1])
    refused(rf"scores/b\.parquet: clip {ids[3]} is there twice")
    second.write_bytes(second.read_bytes()[:50])
    refused(r"scores/b\.parquet: ")
    second.unlink()
    put(folder, ids, fps=[1.0] * CLIPS, score=scores(ids))
    refused(r"scores/a\.parquet: another column of .*catalog\.parquet is called fps", "fps > 2")
    refused(r"columns: .*width.*score", "scare > 0.5 and score > 0")
