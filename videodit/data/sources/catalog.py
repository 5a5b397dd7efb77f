"""The catalog: a row for each clip, with all that the plan needs before a frame is decoded.

On disk it is one Parquet file beside the shards of clips. In memory it is columns: numpy arrays
for what the plan needs, and ids, shards and captions mapped from disk. Further columns may lie
beside the file (column_files.py, token_counts.py); they are joined when the catalog is read.
"""

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from videodit.config import ConfigError, one_line, shortened
from videodit.data.sources import storage
from videodit.data.sources.column_files import IDS, ColumnFiles, find_groups, named_in
from videodit.data.sources.columns import TEXTS, Ragged, Texts, map_texts
from videodit.data.sources.token_counts import PREFIX, find_counts, read_counts
from videodit.data.tokenizer import Tokenizer
from videodit.files import replacing

FILE = "catalog.parquet"
TOKENIZER_KEY = b"videodit.tokenizer"  # Parquet metadata: digest of the tokenizer of the counts
SPLITS = ("train", "val", "test", "combinations")  # training reads the first, evaluations "val"

_NAME = pa.dictionary(pa.int32(), pa.string())  # few values, many rows
SCHEMA = pa.schema(
    {
        "ids": pa.string(),
        "shard": _NAME,
        "index": pa.int32(),
        "width": pa.int32(),
        "height": pa.int32(),
        "frames": pa.int32(),
        "fps": pa.float32(),
        "captions": pa.list_(pa.string()),
        "text_tokens": pa.list_(pa.int32()),
        "split": _NAME,
        "motion": pa.float32(),
        "static": pa.float32(),
    }
)
MEASURED = ("motion", "static")  # columns that may be missing, or empty for some clips
# The field of Catalog for each column of the file.
FIELDS = {name: name for name in SCHEMA.names} | {"text_tokens": "caption_lengths"}
# Columns that data.where may name beside those of the file.
COMPUTED = {"aspect": "width / height", "seconds": "frames / fps"}


class Joined(NamedTuple):
    """Files beside a catalog that are joined to it when it is read."""

    columns: tuple[ColumnFiles, ...] = ()  # that data.where names
    counts: ColumnFiles | None = None  # token counts, in place of those in the catalog's file
    tokenizer: str = ""  # digest of the tokenizer that made these counts

    def stamps(self) -> list[str]:
        """The stamps of all files, for the keys of the cache. Raises ConfigError."""
        files = (*self.columns, self.counts) if self.counts else self.columns
        return [stamp for part in files for stamp in part.stamps()]


class Part(NamedTuple):
    """The rows of a catalog that belong to one source of a mixture."""

    start: int
    stop: int
    weight: float  # share of the vision tokens; the weights of all parts need not add up to 1


@dataclass(frozen=True, eq=False)
class Catalog:
    """N clips, column by column. Texts and token counts may be given as any sequences."""

    ids: Texts  # N str: names
    shard: Texts  # N str: file that holds the clip, in the catalog's folder
    index: np.ndarray  # N int32: record of the shard
    width: np.ndarray  # N int32 pixels
    height: np.ndarray  # N int32 pixels
    frames: np.ndarray  # N int32; 1 is an image
    fps: np.ndarray  # N float32 frames per second
    captions: Texts  # N tuples of str, one or more each
    caption_lengths: Ragged  # N tuples: token count of each caption, BOS and EOS included
    split: np.ndarray  # N str: one of SPLITS
    tokenizer: str  # digest of the tokenizer that counted the captions
    # N float32 each (data/video/measure.py); NaN is unknown, and None makes all unknown.
    motion: np.ndarray = None  # type: ignore[assignment]
    static: np.ndarray = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        for name, kind in zip(TEXTS.names, TEXTS.types):
            if not isinstance(getattr(self, name), Texts):
                object.__setattr__(self, name, Texts.of(getattr(self, name), kind))
        if not isinstance(self.caption_lengths, Ragged):
            object.__setattr__(self, "caption_lengths", Ragged.of(self.caption_lengths))
        for name in MEASURED:
            if getattr(self, name) is None:
                object.__setattr__(self, name, np.full(len(self), np.nan, np.float32))

    def __len__(self) -> int:
        return len(self.ids)

    def select(self, rows: np.ndarray) -> "Catalog":
        """The clips of a mask (N bool) or of indices (int, any order)."""
        rows = np.asarray(rows)
        rows = np.flatnonzero(rows) if rows.dtype == bool else rows.astype(np.int64)
        fields = FIELDS.values()
        columns: dict[str, Any] = {name: _select(getattr(self, name), rows) for name in fields}
        return dataclasses.replace(self, **columns)

    def write(self, folder: str | os.PathLike, extra: dict[str, Sequence] | None = None) -> None:
        """Writes `folder`/catalog.parquet, in one piece or not at all. Makes the folder.

        `extra`: further columns, which data.where may name and nothing else reads.
        """
        columns = {name: _to_arrow(getattr(self, field), name) for name, field in FIELDS.items()}
        table = pa.table(columns, schema=SCHEMA)
        for name, column in (extra or {}).items():
            table = table.append_column(name, pa.array(column))
        table = table.replace_schema_metadata({TOKENIZER_KEY: self.tokenizer})
        path = Path(folder) / FILE
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            pq.write_table(table, temporary)

    @classmethod
    def read(
        cls, folder: str | os.PathLike, where: str = "", joined: Joined | None = None
    ) -> "Catalog":
        """The catalog in `folder`, local or remote, or the clips of it for which `where` is true.

        `where` is an SQL expression (DuckDB) over the columns of the file, those of `joined`, and
        COMPUTED. Rows stay in the order of the file. `joined`: as `find_joined` gives it for this
        folder; None: without another tokenizer. Raises ConfigError if the catalog is missing,
        foreign or empty, for a bad expression, and if no clip is left.
        """
        path = os.path.join(folder, FILE)
        local = storage.local(path)
        tokenizer = _check_file(local)
        joined = find_joined(folder, where) if joined is None else joined
        columns: dict[str, Any] = {**map_texts(path)}
        if joined.counts:
            tokenizer = joined.tokenizer
            columns["text_tokens"] = read_counts(joined.counts, local)
        rows = matching(local, where, joined.columns) if where else None
        for name in SCHEMA.names:
            column = columns[name] if name in columns else _read_column(local, name)
            if column is not None:
                columns[name] = column if rows is None else _select(column, rows)
        fields = {FIELDS[name]: column for name, column in columns.items()}
        catalog = cls(**fields, tokenizer=tokenizer)
        _check_rows(catalog, path)
        return catalog

    @classmethod
    def concatenate(cls, parts: Sequence["Catalog"]) -> "Catalog":
        """The clips of all catalogs, one after the other; one tokenizer must have counted all."""
        columns: dict[str, Any] = {}
        for name in FIELDS.values():
            values = [getattr(part, name) for part in parts]
            kind = type(values[0])
            join = np.concatenate if kind is np.ndarray else kind.concatenate
            columns[name] = join(values)
        return cls(**columns, tokenizer=parts[0].tokenizer)

    def open_texts(self) -> None:
        """Maps ids and captions now instead of at their first use. The first time on a machine
        takes minutes for millions of clips. Raises ConfigError.
        """
        _ = self.ids[0]


def find_joined(
    folder: str | os.PathLike,
    where: str = "",
    tokenizer: Tokenizer | None = None,
    beside: str | os.PathLike | None = None,
) -> Joined:
    """What lies beside the catalog in `folder` and is needed for `where` and `tokenizer`.

    beside: the folder with the columns, if it is another one. Captions that `tokenizer` has never
    counted are counted now, which may take minutes for millions of clips. Raises ConfigError.
    """
    path, beside = os.path.join(folder, FILE), folder if beside is None else beside
    groups = find_groups(beside) if where else {}
    columns = {name: paths for name, paths in groups.items() if not name.startswith(PREFIX)}
    joined = Joined(tuple(named_in(where, columns)))
    if tokenizer is None or tokenizer.digest == _tokenizer_of(path):
        return joined
    return joined._replace(counts=find_counts(beside, path, tokenizer), tokenizer=tokenizer.digest)


def matching(path: Path, where: str, columns: Sequence[ColumnFiles] = ()) -> np.ndarray:
    """Rows (int64, rising) of a catalog's file for which an SQL expression is true.

    columns: joined to those of the file. Raises ConfigError with the expression, DuckDB's reason
    and the known columns, and if there are no such rows.
    """
    with duckdb.connect() as connection:
        clips = connection.read_parquet(str(path), file_row_number=True)
        for files in columns:
            clips = _with_columns(clips, files, path, connection)
        known = [name for name in clips.columns if name != "file_row_number"]
        computed = COMPUTED | dict.fromkeys(MEASURED, "NULL::FLOAT")
        computed = {name: sql for name, sql in computed.items() if name not in known}
        names = ", ".join([*known, *computed])
        added = "".join(f", {sql} AS {name}" for name, sql in computed.items())
        try:
            found = clips.project(f"*{added}").filter(where).project("file_row_number")
            rows = found.fetchnumpy()["file_row_number"]
        except duckdb.Error as error:
            reason = one_line(error)
            message = f"data.where={shortened(where)}: {path}: {reason}; columns: {names}"
            raise ConfigError(message) from error
    if not len(rows):
        raise ConfigError(f"data.where={shortened(where)}: true for no clip of {path}")
    return np.sort(rows)


def _with_columns(
    clips: duckdb.DuckDBPyRelation,
    files: ColumnFiles,
    path: Path,
    connection: duckdb.DuckDBPyConnection,
) -> duckdb.DuckDBPyRelation:
    """The clips of a catalog's file with these columns too. Raises ConfigError."""
    twice = [name for name in files.names if name in clips.columns]
    if twice:
        raise ConfigError(f"{files.paths[0]}: another column of {path} is called {twice[0]} too")
    table = files.read(pq.read_table(path, columns=[IDS])[IDS].cast(pa.string()))
    table = table.append_column("file_row_number", pa.array(np.arange(len(table))))
    return clips.join(connection.from_arrow(table), "file_row_number")


def _select(column: np.ndarray | Ragged | Texts, rows: np.ndarray) -> np.ndarray | Ragged | Texts:
    return column[rows] if isinstance(column, np.ndarray) else column.select(rows)


def _to_arrow(column: np.ndarray | Ragged | Texts, name: str) -> pa.ChunkedArray | pa.Array:
    kind = SCHEMA.field(name).type
    if isinstance(column, Texts):
        return column.to_arrow().cast(kind)
    if isinstance(column, Ragged):
        return pa.ListArray.from_arrays(pa.array(column.offsets, pa.int32()), column.values)
    if kind == _NAME:
        return pa.array(column, pa.string()).cast(kind)
    return pa.array(column, kind, from_pandas=name in MEASURED)  # NaN becomes a missing value


def _tokenizer_of(path: str) -> str:
    """The digest in a catalog's file; "" if the file is no catalog."""
    with storage.opened(path) as file:
        return (pq.read_schema(file).metadata or {}).get(TOKENIZER_KEY, b"").decode()


def _check_file(path: Path) -> str:
    """The tokenizer's digest, or a ConfigError that says why the file is no catalog."""
    if not path.is_file():
        raise ConfigError(f"{path}: no such catalog; tools.curate makes one from videos")
    try:
        schema, rows = pq.read_schema(path), pq.read_metadata(path).num_rows
    except (pa.ArrowException, OSError) as error:
        raise ConfigError(f"{path}: not a readable Parquet file: {one_line(error)}") from error
    if TOKENIZER_KEY not in (schema.metadata or {}):
        raise ConfigError(
            f"{path}: not a videodit catalog: its Parquet metadata lack {TOKENIZER_KEY.decode()} "
            "(the digest of the tokenizer), which a tool that adds columns must keep"
        )
    missing = [name for name in SCHEMA.names if name not in (*schema.names, *MEASURED)]
    if missing:
        raise ConfigError(f"{path}: lacks the columns {', '.join(missing)}")
    if not rows:
        raise ConfigError(f"{path}: holds no clips")
    return schema.metadata[TOKENIZER_KEY].decode()


def _read_column(path: Path, name: str) -> np.ndarray | Ragged | None:
    """One column, checked and in its type; None if it may be missing and is."""
    if name in MEASURED and name not in pq.read_schema(path).names:
        return None
    try:
        column = pq.read_table(path, columns=[name])[name]
        column = column.cast(SCHEMA.field(name).type).combine_chunks()
    except (pa.ArrowException, OSError) as error:
        raise ConfigError(
            f"{path}: {name} has the wrong type or is damaged: {one_line(error)}"
        ) from error
    if column.null_count and name not in MEASURED:
        raise ConfigError(f"{path}: {name} is missing for {column.null_count} clips")
    if name == "text_tokens":
        offsets = column.offsets.to_numpy().astype(np.int64)
        return Ragged(offsets - offsets[0], column.flatten().to_numpy())
    if column.type == _NAME:
        names = np.array(column.dictionary.to_pylist(), str)
        return names[column.indices.to_numpy()]
    return column.to_numpy(zero_copy_only=False)


def _check_rows(catalog: Catalog, path: str) -> None:
    """Raises ConfigError naming the first clip with impossible values."""
    sizes = np.minimum.reduce([catalog.width, catalog.height, catalog.frames, catalog.index + 1])
    split = np.logical_or.reduce([catalog.split == name for name in SPLITS])
    for good, what in (
        (sizes >= 1, "width, height and frames of at least 1, and an index of at least 0"),
        ((catalog.fps > 0) & np.isfinite(catalog.fps), "fps above 0"),
        (split, f"a split out of {', '.join(SPLITS)}"),
        (catalog.caption_lengths.counts() >= 1, "captions, and a token count for each"),
        (_counted(catalog.caption_lengths), "token counts of at least 1"),
    ):
        if not good.all():
            raise ConfigError(f"{path}: clip {catalog.ids[int(np.argmin(good))]}: expected {what}")


def _counted(lengths: Ragged) -> np.ndarray:
    """N bool: whether all token counts of a clip are at least 1."""
    good = np.ones(len(lengths), bool)
    good[np.searchsorted(lengths.offsets, np.flatnonzero(lengths.values < 1), side="right") - 1] = 0
    return good
