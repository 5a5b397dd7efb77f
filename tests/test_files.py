"""Text files that are hostile, or that a crash has cut at any byte."""

import json
import logging
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from videodit import files
from videodit.config import ConfigError

KINDS = {"step": int, "time": float, "kind": str}
RECORDS = [{"step": i, "time": i / 2, "kind": "träin", "more": [i]} for i in range(3)]
JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def test_a_file_of_records_may_be_cut_at_any_byte(tmp_path):
    path = tmp_path / "records.jsonl"
    for record in RECORDS:
        files.append_record(path, record)
    whole = path.read_bytes()
    ends = [i for i in range(len(whole)) if whole[i : i + 1] == b"\n"]  # all of a line before them
    for cut in range(len(whole) + 1):
        for damage in (b"", b"\0" * 9):  # file systems may fill up what was not written with zeros
            path.write_bytes(whole[:cut] + damage)
            left = RECORDS[: sum(end <= cut for end in ends)]
            assert files.read_records(path, KINDS) == left
            files.append_record(path, RECORDS[0])
            assert files.read_records(path, KINDS) == [*left, RECORDS[0]]


@given(st.lists(st.binary(max_size=30) | JSON.map(lambda x: json.dumps(x).encode()), max_size=6))
def test_damaged_lines_cost_only_themselves(tmp_path_factory, lines):
    path = tmp_path_factory.mktemp("records") / "records.jsonl"
    lines = [line.replace(b"\n", b"") for line in lines]
    good = [json.dumps(record).encode() for record in RECORDS]
    path.write_bytes(b"\n".join([good[0], *lines, good[1], good[2]]) + b"\n")
    found = files.read_records(path, KINDS)
    assert [record for record in found if record in RECORDS] == RECORDS
    assert all(isinstance(record["step"], int) for record in found)


def test_what_is_left_out_of_records_is_logged_once(tmp_path, caplog):
    path = tmp_path / "records.jsonl"
    path.write_bytes(b'{"step": 1, "time": 2, "kind": "a"}\n\0\0\0\n{"step": "1"}\n[]\n{"step')
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert files.read_records(path, KINDS) == [{"step": 1, "time": 2, "kind": "a"}]
    (line,) = (record.getMessage() for record in caplog.records)
    assert f"{path}, line 3: step='1': expected a value of type int, and 1 more lines" in line
    assert files.read_records(tmp_path / "absent", KINDS) == []


def test_a_file_is_replaced_whole_and_is_on_disk_before_it_gets_its_name(tmp_path, monkeypatch):
    path, order = tmp_path / "config.json", []
    path.write_text("old")
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (order.append(path.read_text()), real(fd)))
    files.write_json(path, {"a": 1})
    assert order == ["old"] and json.loads(path.read_text()) == {"a": 1}
    with pytest.raises(TypeError):
        files.write_json(path, object())
    assert json.loads(path.read_text()) == {"a": 1} and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("data, message", [
    (b"", "is empty; expected JSON"),
    (b" \n ", "is empty"),
    (b"\0\0\0\0", "NUL bytes"),
    (b'{"a": 1', r"is not JSON: Expecting ',' delimiter \(column 8\)"),
    (b'{"a": 1,\n"b": }', r"is not JSON: Expecting value \(line 2, column 6\)"),
    (b"[1, 2]", r"expected an object of fields, not \[1, 2\]"),
    (b"[" * 100_000, "nested too deep"),
    (b'{"a": ' + b"9" * 9999 + b"}", "is not JSON that can be read: "),
    (b'{"a": "\xe4"}', "expected UTF-8; byte 8 is 0xe4"),
    ('{"a": 1}'.encode("utf-16"), "expected UTF-8, not UTF-16"),
    ('{"a": 1}'.encode("utf-32"), "expected UTF-8, not UTF-16 or UTF-32"),
])  # fmt: skip
def test_what_is_no_json_object_is_one_clear_line(tmp_path, data, message):
    path = tmp_path / "config.json"
    path.write_bytes(data)
    with pytest.raises(ConfigError, match=message) as caught:
        files.read_object(path)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"absent: cannot be read: No such file"):
        files.read_text(tmp_path / "absent")
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        files.read_json(tmp_path)


@given(st.lists(st.text(st.characters(exclude_characters="\n\0", exclude_categories=["Cs"]))))
def test_only_newlines_separate_lines(tmp_path_factory, lines):
    """Texts may hold U+2028, U+0085, form feeds and carriage returns; "\\n" is not among them."""
    path = tmp_path_factory.mktemp("lines") / "captions"
    for mark in (b"", b"\xef\xbb\xbf"):
        path.write_bytes(mark + "\n".join(lines).encode())
        left_out = []
        found = files.read_lines(path, lambda text: text, left_out.append)
        expected = [line.removeprefix("\ufeff") for line in lines]
        assert found == [line for line in expected if line.strip()] and not left_out


def test_a_wrong_line_is_named_and_the_others_are_read(tmp_path):
    path, left_out = tmp_path / "a.txt", []
    path.write_bytes("one\ntwö\n".encode() + "drei: ä\n".encode("latin-1") + b"a\0b\n\nfive")
    assert files.read_lines(path, str.strip, left_out.append) == ["one", "twö", "five"]
    assert left_out == [
        f"{path}, line 3: expected UTF-8; byte 7 is 0xe4",
        f"{path}, line 4: expected text; it holds NUL bytes",
    ]


@given(JSON)
def test_captions_are_texts_whatever_is_there(value):
    for name in ("caption", "captions"):
        try:
            found = files.captions_of({name: value})
        except ConfigError as error:
            assert name in str(error) and "\n" not in str(error)
            continue
        given = [value] if name == "caption" else value
        assert found == tuple(text.strip() for text in given) and all(found)
        "".join(found).encode()


@given(st.text(max_size=300), st.text(max_size=300))
def test_short_names_are_short_and_differ(a, b):
    names = [files.short_name(os.fsdecode(text.encode(errors="replace"))) for text in (a, b)]
    for name in names:
        assert len(name) <= files.NAME_BYTES and name.isascii() and "/" not in name
    assert (names[0] == names[1]) == (a.encode(errors="replace") == b.encode(errors="replace"))


def test_long_names_keep_their_beginning_and_suffix():
    assert files.short_name("more films/b c.mp4") == "more%20films%2Fb%20c.mp4"
    name = files.short_name("狐" * 43 + ".mp4")
    assert name.startswith("%E7%8B%90") and name.endswith(".mp4") and len(name) > 100
    assert files.short_name(os.fsdecode(b"\xff.mp4")) == "%FF.mp4"
