import pytest

from videodit.data.sources import shards as tool
from videodit.files import replacing


def test_two_processes_that_write_a_file_do_not_meet(tmp_path):
    path = tmp_path / "file"
    with replacing(path) as first, replacing(path) as second:
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first"  # which ended last
    assert list(tmp_path.iterdir()) == [path]


def test_a_block_that_fails_leaves_what_was_there(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), replacing(path) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("damage", [b"", b"\0\0", b'[{"id": "x"', b"{}"])
def test_a_shard_whose_rows_are_damaged_is_made_again(tmp_path, damage):
    rows = tool.write_records(tmp_path, "a", [(b"record", {"id": "x"})])
    assert tool.is_finished(tmp_path, "a")
    (tmp_path / tool.PARTS / "a.json").write_bytes(damage)
    assert not tool.is_finished(tmp_path, "a")
    assert tool.write_records(tmp_path, "a", [(b"record", {"id": "x"})]) == rows
    assert tool.is_finished(tmp_path, "a")


def test_what_a_killed_run_left_of_a_shard_is_deleted_when_it_is_made(tmp_path):
    for name in ("a", "b", "a[1]"):
        (tmp_path / f"{name}{tool.SUFFIX}.0f.tmp").write_text("half")
    rows = tool.write_records(tmp_path, "a", [(b"record", {"id": "x"})])
    assert rows == [{"id": "x", "shard": "a.array_record", "index": 0, "bytes": 6}]
    assert tool.is_finished(tmp_path, "a") and tool.read_rows(tmp_path, "a") == rows
    tool.write_records(tmp_path, "a[1]", [])
    assert [path.name for path in tmp_path.glob("*.tmp")] == ["b.array_record.0f.tmp"]
