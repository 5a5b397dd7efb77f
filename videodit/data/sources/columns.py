"""Columns of a catalog that numpy has no good type for: lists of numbers, texts, lists of texts.

They hold no Python object for a row, so ten million rows take no more memory than their bytes.
"""

import functools
import logging
import mmap
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from videodit.config import ConfigError, one_line
from videodit.data.sources import storage

logger = logging.getLogger(__name__)

BATCH_ROWS = 1 << 14  # rows that are converted at a time
BUFFER = 1 << 20  # bytes of a column that are read at a time
MANY_ROWS = 1_000_000  # so many take a minute to copy, which the log announces


class Ragged:
    """N tuples of numbers: number j of row i is values[offsets[i] + j]."""

    def __init__(self, offsets: np.ndarray, values: np.ndarray) -> None:
        self.offsets = offsets  # N + 1 int64, from 0 to len(values)
        self.values = values

    @classmethod
    def of(cls, rows: Iterable[Sequence[int]]) -> "Ragged":
        """From any sequences of integers; values are int32."""
        rows = list(map(tuple, rows))
        counts = np.fromiter(map(len, rows), np.int64, len(rows))
        values = np.array([value for row in rows for value in row], np.int32)
        return cls(_offsets(counts), values)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __iter__(self) -> Iterator[tuple[int, ...]]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, i: int) -> tuple[int, ...]:
        i = range(len(self))[i]
        return tuple(self.values[self.offsets[i] : self.offsets[i + 1]].tolist())

    def counts(self) -> np.ndarray:
        """N int64: how many numbers each row has."""
        return np.diff(self.offsets)

    def select(self, rows: np.ndarray) -> "Ragged":
        """The rows of these indices (int)."""
        counts = self.counts()[rows]
        offsets = _offsets(counts)
        shift = np.repeat(self.offsets[rows] - offsets[:-1], counts)
        return Ragged(offsets, self.values[np.arange(offsets[-1]) + shift])

    @classmethod
    def concatenate(cls, parts: Sequence["Ragged"]) -> "Ragged":
        """The rows of all parts, one part after the other."""
        counts = np.concatenate([part.counts() for part in parts])
        return cls(_offsets(counts), np.concatenate([part.values for part in parts]))


def _offsets(counts: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])


class Texts:
    """N strings, or N tuples of strings, as Arrow data: in memory, or mapped from a file.

    A mapped column is pickled as the name of its file, and processes share its pages in memory.
    """

    def __init__(
        self, stores: Sequence["_Stored | _Mapped"], rows: np.ndarray | None = None
    ) -> None:
        """The stores are joined one after the other; `rows` selects from them, None all."""
        self._stores, self._rows = tuple(stores), rows
        self._ends = np.cumsum([store.length for store in stores])

    @classmethod
    def of(cls, values: Iterable, kind: pa.DataType) -> "Texts":
        """Strings (`kind` string) or sequences of strings (list of string), kept in memory."""
        array = pa.array(list(values), kind)
        return cls([_Stored(array, len(array))])

    def __len__(self) -> int:
        return int(self._ends[-1]) if self._rows is None else len(self._rows)

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, i: int) -> Any:  # a string or a tuple of strings
        i = range(len(self))[i]
        row = i if self._rows is None else int(self._rows[i])
        store = int(np.searchsorted(self._ends, row, side="right"))
        first = self._ends[store] - self._stores[store].length
        value = self._stores[store].array[int(row - first)].as_py()
        return tuple(value) if isinstance(value, list) else value

    def select(self, rows: np.ndarray) -> "Texts":
        """The rows of these indices (int). Nothing is copied."""
        return Texts(self._stores, rows if self._rows is None else self._rows[rows])

    @classmethod
    def concatenate(cls, parts: Sequence["Texts"]) -> "Texts":
        """The rows of all parts, one part after the other. Nothing is copied."""
        stores = [store for part in parts for store in part._stores]
        if all(part._rows is None for part in parts):
            return cls(stores)
        first, rows = 0, []
        for part in parts:
            rows.append(first + (np.arange(len(part)) if part._rows is None else part._rows))
            first += part._ends[-1]
        return cls(stores, np.concatenate(rows))

    def to_arrow(self) -> pa.ChunkedArray:
        """The rows as Arrow data in memory."""
        chunks: list[pa.Array] = []
        for store in self._stores:
            array = store.array
            chunks += array.chunks if isinstance(array, pa.ChunkedArray) else [array]
        whole = pa.chunked_array(chunks)
        return whole if self._rows is None else whole.take(pa.array(self._rows))


class _Stored(NamedTuple):
    array: pa.Array
    length: int


class _Mapped(NamedTuple):
    """A column of texts in a Parquet file that had this stamp when it was opened."""

    parquet: str
    stamp: str
    name: str
    length: int

    @property
    def array(self) -> pa.ChunkedArray:
        return _map(self.parquet, self.stamp)[self.name]


TEXTS = pa.schema({"ids": pa.string(), "shard": pa.string(), "captions": pa.list_(pa.string())})


def map_texts(parquet: str | os.PathLike) -> dict[str, Texts]:
    """The columns TEXTS of a Parquet file, local or remote. They are opened when first used.

    The first use on a machine copies them into an Arrow file in the cache. It raises ConfigError if
    the Parquet file has changed by then, or if a clip's numbers of captions and of token counts
    differ.
    """
    length, stamp = pq.read_metadata(storage.local(parquet)).num_rows, storage.stamp(parquet)
    if not storage.is_remote(parquet):
        parquet = os.path.abspath(parquet)
    return {name: Texts([_Mapped(str(parquet), stamp, name, length)]) for name in TEXTS.names}


@functools.cache
def _map(parquet: str, stamp: str) -> pa.Table:
    """The texts of a Parquet file as a table that is mapped into memory, not read."""

    def convert(path: Path) -> None:
        if storage.stamp(parquet) != stamp:
            raise ConfigError(f"{parquet}: has changed since it was opened")
        _write_texts(storage.local(parquet), path)

    return storage.load(f"{TEXTS.names} {parquet} {stamp}", "texts.arrow", convert, _map_table)


def _map_table(path: Path) -> pa.Table:
    """A table in an Arrow file, which is mapped into memory."""
    with open(path, "rb") as file:
        data = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    data.madvise(mmap.MADV_RANDOM)  # no read-ahead: captions are read one by one
    return pa.ipc.open_file(pa.py_buffer(data)).read_all()


def map_array(folder: Path, name: str) -> np.ndarray:
    """The array in a file NAME.npy, which is mapped into memory."""
    return np.asarray(np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False))


def save_texts(columns: Mapping[str, Texts], folder: Path) -> dict[str, Any]:
    """Writes columns of texts into a folder; returns what `load_texts` needs, as JSON values.

    Of texts that are mapped from a file only its name is written.
    """
    selections: list[np.ndarray] = []  # the columns of a catalog share one
    described = {}
    for name, column in columns.items():
        if column._rows is not None and not any(column._rows is rows for rows in selections):
            np.save(folder / f"rows-{len(selections)}.npy", column._rows)
            selections.append(column._rows)
        numbers = [i for i, rows in enumerate(selections) if column._rows is rows]
        stores = [
            store._asdict() if isinstance(store, _Mapped) else _save(store, folder / f"{name}-{i}")
            for i, store in enumerate(column._stores)
        ]
        described[name] = {"stores": stores, "rows": numbers}
    return described


def _save(store: _Stored, path: Path) -> dict[str, Any]:
    """Writes texts that are in memory as the only column of an Arrow file."""
    table = pa.table({"texts": store.array})
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return {"arrow": path.name}


def load_texts(described: Mapping[str, Any], folder: Path) -> dict[str, Texts]:
    """The columns that `save_texts` wrote, mapped into memory.

    Raises one of storage.DAMAGED if they are damaged.
    """
    columns = {}
    for name, column in described.items():
        rows = [map_array(folder, f"rows-{i}") for i in column["rows"]]
        stores = [_load(store, folder) for store in column["stores"]]
        columns[name] = Texts(stores, rows[0] if rows else None)
    return columns


def _load(store: dict[str, Any], folder: Path) -> _Stored | _Mapped:
    if "arrow" not in store:
        return _Mapped(**store)
    texts = _map_table(folder / store["arrow"])["texts"]
    return _Stored(texts, len(texts))


def _write_texts(parquet: Path, path: Path) -> None:
    """Copies the columns TEXTS into an Arrow file, which is read without decoding."""
    rows = pq.read_metadata(parquet).num_rows
    if rows >= MANY_ROWS:
        logger.info("%s: copying the texts of %d clips into the cache, once", parquet, rows)
    try:
        with (
            pq.ParquetFile(parquet, buffer_size=BUFFER, pre_buffer=False) as file,
            pa.OSFile(str(path), "wb") as sink,
            pa.ipc.new_file(sink, TEXTS) as writer,
        ):
            for batch in file.iter_batches(BATCH_ROWS, columns=[*TEXTS.names, "text_tokens"]):
                table = pa.table(batch.select(TEXTS.names)).cast(TEXTS)
                _check_texts(table, batch["text_tokens"], parquet)
                writer.write_table(table)
    except pa.ArrowException as error:
        names = ", ".join(TEXTS.names)
        raise ConfigError(
            f"{parquet}: {names}: wrong type, or damaged: {one_line(error)}"
        ) from error


def _check_texts(table: pa.Table, text_tokens: pa.Array, parquet: Path) -> None:
    """Raises ConfigError if a text is missing, naming the clip if it lacks a token count."""
    values = {"captions": table["captions"].combine_chunks().flatten()}
    for name, column in ({name: table[name] for name in ("ids", "shard")} | values).items():
        if column.null_count:
            raise ConfigError(f"{parquet}: {name} is missing for {column.null_count} clips")
    captions = pc.fill_null(pc.list_value_length(table["captions"]), 0).to_numpy()
    counts = pc.list_value_length(text_tokens).to_numpy(zero_copy_only=False)
    good = (captions == counts) & (captions >= 1)
    if not good.all():
        name = table["ids"][int(np.argmin(good))]
        raise ConfigError(f"{parquet}: clip {name}: expected captions, and a token count for each")
