import duckdb
import pytest

from videodit.config import ConfigError
from videodit.worlds.truth import FOLDER, Truth, read_truth, truth_file, write_truth

SHARD = "fake-train-00000000.array_record"
STATES = [{"x": 0.1, "kind": "ball", "at": [1, 2]}, {"x": 1e-9, "kind": None}]


def truth(name, **changes):
    slots = {"a.color": "red", "camera": "still"}
    texts = ("a red ball", slots, "A ball.", {})
    made = Truth(name, "fake", 2**63 - 1, "seen", "all", *texts, slots, STATES)
    return made._replace(**changes)


@pytest.fixture
def written(tmp_path):
    truths = [truth("one"), truth("two", slots={"a.color": "blue"}, states=[])]
    (tmp_path / FOLDER).mkdir()
    write_truth(truth_file(tmp_path, SHARD), truths)
    return truths


def test_what_is_written_is_read(written, tmp_path):
    assert read_truth(tmp_path, SHARD) == written


def test_sql_can_ask_for_facts(written, tmp_path):
    query = f"SELECT id FROM '{tmp_path}/truth/*.parquet' WHERE slots['a.color'] = 'blue'"
    assert duckdb.sql(query).fetchall() == [("two",)]


def test_missing_or_foreign_truth_is_refused_by_name(written, tmp_path):
    with pytest.raises(ConfigError, match=r"other\.parquet: no readable truth of other"):
        read_truth(tmp_path, "other.array_record")
    truth_file(tmp_path, SHARD).write_text("no Parquet")
    with pytest.raises(ConfigError, match=r"fake-train-00000000\.parquet: no readable truth"):
        read_truth(tmp_path, SHARD)
