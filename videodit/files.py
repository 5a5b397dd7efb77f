"""Text files: those of users are read with checks, those of runs are appended to or replaced whole.

Text is UTF-8, with or without a byte order mark, and only "\\n" separates lines. A run may be cut
off at any byte that it writes: a file that is replaced is the old one or the new one, and a line
that was cut off is left out when the file is read.
"""

import codecs
import contextlib
import functools
import hashlib
import json
import logging
import os
import re
import urllib.parse
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from videodit.config import ConfigError, check, shortened

Row = TypeVar("Row")
LeaveOut = Callable[[str], object]  # is told what is left out, and why
OTHER_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)
NAME_BYTES = 180  # of a file name that is made from another name

logger = logging.getLogger(__name__)


# Reading.


@contextlib.contextmanager
def named(where: str | os.PathLike) -> Iterator[None]:
    """Turns an OSError, or a ConfigError about what is in a file, into one that names the file."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None
    except OSError as error:
        raise ConfigError(f"{where}: cannot be read: {error.strerror or error}") from None


def read_text(path: str | os.PathLike) -> str:
    """The text of a file. Raises ConfigError naming the file."""
    with named(path):
        return _decode(_read_bytes(path))


def read_json(path: str | os.PathLike) -> Any:
    """The content of a JSON file. Raises ConfigError naming the file."""
    with named(path):
        return parse_json(_decode(_read_bytes(path)))


def read_object(path: str | os.PathLike) -> dict[str, Any]:
    """The fields of a JSON file. Raises ConfigError naming the file."""
    with named(path):
        return parse_object(_decode(_read_bytes(path)))


def read_lines(
    path: str | os.PathLike, parse: Callable[[str], Row], leave_out: LeaveOut
) -> list[Row]:
    """`parse` of every line that is not blank.

    A line that is no UTF-8, or for which `parse` raises ConfigError, is left out; `leave_out` is
    told the file, the line and the reason. Raises ConfigError if the file cannot be read at all.
    """
    with named(path):
        data = _read_bytes(path)
    return _parse_lines(path, data.split(b"\n"), parse, leave_out)


def _parse_lines(
    path: str | os.PathLike,
    lines: Iterable[bytes],
    parse: Callable[[str], Row],
    leave_out: LeaveOut,
) -> list[Row]:
    rows = []
    for number, line in enumerate(lines, 1):
        try:
            with named(f"{path}, line {number}"):
                text = _decode(line)
                if text.strip():
                    rows.append(parse(text))
        except ConfigError as error:
            leave_out(str(error))
    return rows


def _read_bytes(path: str | os.PathLike) -> bytes:
    data = Path(path).read_bytes()
    if data.startswith(OTHER_MARKS):
        raise ConfigError("expected UTF-8, not UTF-16 or UTF-32")
    return data


def _decode(data: bytes) -> str:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        place = f"byte {error.start + 1} is {data[error.start]:#04x}"
        raise ConfigError(f"expected UTF-8; {place}") from None
    if "\0" in text:
        raise ConfigError("expected text; it holds NUL bytes")
    return text


# Values.


def parse_json(text: str) -> Any:
    """The value of a JSON text. Raises ConfigError."""
    if not text.strip():
        raise ConfigError("is empty; expected JSON")
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        line = f"line {error.lineno}, " if "\n" in text.strip() else ""
        raise ConfigError(f"is not JSON: {error.msg} ({line}column {error.colno})") from None
    except ValueError as error:  # a number of thousands of digits
        raise ConfigError(f"is not JSON that can be read: {error}") from None
    except RecursionError:
        raise ConfigError("is not JSON that can be read: nested too deep") from None


def parse_object(text: str) -> dict[str, Any]:
    """The fields of a JSON object. Raises ConfigError."""
    values = parse_json(text)
    if not isinstance(values, dict):
        raise ConfigError(f"expected an object of fields, not {shortened(values)}")
    return values


def whole_number(values: Mapping[str, Any], name: str, what: str) -> int:
    """A field that is a whole number of `what`, such as "frames". Raises ConfigError."""
    check(name in values, name, None, f"a whole number of {what}")
    value = values[name]
    good = isinstance(value, int) and not isinstance(value, bool)
    check(good, name, value, f"a whole number of {what}")
    return value


def finite_number(values: Mapping[str, Any], name: str) -> float:
    """A field that is a finite number. Raises ConfigError."""
    value = values.get(name)
    good = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300
    check(good, name, value, "a number")
    return float(value)  # type: ignore[arg-type]  # checked


def plain_text(name: str, value: object) -> str:
    """The value, if it is a text that is not blank. Raises ConfigError naming `name`."""
    good = isinstance(value, str) and bool(value.strip()) and "\0" not in value and is_utf8(value)
    check(good, name, value, "a text that is not empty")
    return str(value)


def captions_of(values: Mapping[str, Any]) -> tuple[str, ...]:
    """{"caption": TEXT} or {"captions": [TEXT, ...]} as texts without blank ends.

    Raises ConfigError if it has another form.
    """
    if "captions" not in values:
        check("caption" in values, "caption", None, 'a text, or "captions", a list of texts')
        return (plain_text("caption", values["caption"]).strip(),)
    texts = values["captions"]
    check(isinstance(texts, list) and bool(texts), "captions", texts, "a list of texts")
    return tuple(plain_text(f"captions[{i}]", text).strip() for i, text in enumerate(texts))


# Names of files.


def is_utf8(text: str) -> bool:
    """Whether UTF-8 can hold a text or a file's name; names of other bytes hold surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def shown_name(path: str | os.PathLike) -> str:
    """A path that can be printed, whatever its bytes are."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def short_name(name: str) -> str:
    """A file name of at most NAME_BYTES ASCII characters, which differs for different names.

    It is `name` as in URLs, where that is short enough; else its beginning, a hash and its suffix.
    """
    quoted = urllib.parse.quote(os.fsencode(name), safe="")
    if len(quoted) <= NAME_BYTES:
        return quoted
    digest = hashlib.sha256(os.fsencode(name)).hexdigest()[:16]
    suffix = suffix if len(suffix := os.path.splitext(quoted)[1]) <= 20 else ""
    start = quoted[: NAME_BYTES - len(digest) - len(suffix) - 1]
    return f"{re.sub('%.?$', '', start)}-{digest}{suffix}"


# Writing.


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a temporary file, which becomes `path` if the block succeeds and is deleted otherwise.

    After a crash, `path` is the old file or the whole new one. Several processes may do so at the
    same time: each has its own file, and the last one stays.
    """
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        yield temporary
        sync(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Waits until a file, or every file in a folder, is on disk: a rename may get there first."""
    for file in path.rglob("*") if path.is_dir() else [path]:
        if file.is_file():
            with file.open("rb") as opened:
                os.fsync(opened.fileno())


def write_text(path: str | os.PathLike, text: str) -> None:
    """Replaces a file by one with this text."""
    with replacing(Path(path)) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | os.PathLike, values: Any) -> None:
    """Replaces a file by one with these values as JSON."""
    write_text(path, json.dumps(values, indent=2) + "\n")


# Records: a JSON object on each line.


def append_record(path: str | os.PathLike, record: Mapping[str, Any]) -> None:
    """Appends a record in one write, on a line of its own also if the last line was cut off."""
    with Path(path).open("ab+", buffering=0) as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(max(end - 1, 0))
        start = "" if file.read(1) in (b"", b"\n") else "\n"
        file.write(f"{start}{json.dumps(record)}\n".encode())


def write_records(path: str | os.PathLike, records: Iterable[Mapping[str, Any]]) -> None:
    """Replaces a file by one with these records."""
    write_text(path, "".join(json.dumps(record) + "\n" for record in records))


def read_records(path: str | os.PathLike, kinds: Mapping[str, type]) -> list[dict[str, Any]]:
    """The records of a file that have fields of these names and kinds; [] if there is no file.

    kinds: `float` also stands for whole numbers. What a crash has damaged is left out and logged,
    except for a last line without end, which may just be written.
    """
    if not Path(path).is_file():
        return []
    damaged: list[str] = []
    with named(path):
        lines = Path(path).read_bytes().split(b"\n")

    def parse(text: str) -> dict[str, Any]:
        return _checked(parse_object(text), kinds)

    records = _parse_lines(path, (line.strip(b"\0") for line in lines[:-1]), parse, damaged.append)
    records += _parse_lines(path, (line.strip(b"\0") for line in lines[-1:]), parse, str)
    if damaged:
        more = f", and {len(damaged) - 1} more lines" if len(damaged) > 1 else ""
        _warn_once(f"left out: {damaged[0]}{more}")
    return records


def _checked(record: dict[str, Any], kinds: Mapping[str, type]) -> dict[str, Any]:
    """The record, if it has all fields. Raises ConfigError."""
    for name, kind in kinds.items():
        accepted = int | float if kind is float else kind
        value = record.get(name)
        good = isinstance(value, accepted) and not isinstance(value, bool)
        check(good, name, value, f"a value of type {kind.__name__}")
    return record


@functools.cache  # a run reads its metrics several times
def _warn_once(line: str) -> None:
    logger.warning("%s", line)
