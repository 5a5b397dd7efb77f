"""Columns of clips that lie beside a catalog: FOLDER/columns/NAME/*.parquet.

A group NAME is one file or many. Each file has a column `ids`, the clips' names, and further
columns. Together the files of a group hold every clip of the catalog once, in any order; they may
hold clips that the catalog lacks. The catalog's own file stays as it is when columns are added.
"""

import os
import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from videodit.config import ConfigError, one_line
from videodit.data.sources import storage

FOLDER = "columns"
IDS = "ids"
SUFFIX = ".parquet"


class ColumnFiles(NamedTuple):
    """Some columns of one group."""

    paths: tuple[str, ...]
    names: tuple[str, ...]  # without IDS

    def stamps(self) -> list[str]:
        """Names and stamps of the files; they change when a file changes. Raises ConfigError."""
        return [f"{path} {storage.stamp(path)}" for path in self.paths]

    def read(self, ids: pa.ChunkedArray) -> pa.Table:
        """The columns of the clips called `ids`, in this order.

        Raises ConfigError naming the file if it cannot be read, if a clip is missing, and if a
        clip is there twice.
        """
        tables = [_read(path, self.names) for path in self.paths]
        try:
            table = pa.concat_tables(tables)
        except pa.ArrowException as error:
            raise ConfigError(
                f"{self._where()}: columns of different types: {one_line(error)}"
            ) from error
        names = table[IDS]
        if names.equals(ids):
            return table.drop_columns([IDS])
        self._check_once(names, [len(part) for part in tables])
        rows = pc.index_in(ids, value_set=names.combine_chunks())
        if rows.null_count:
            clip = ids.filter(pc.is_null(rows))[0]
            others = f"and {rows.null_count - 1} others are" if rows.null_count > 1 else "is"
            raise ConfigError(f"{self._where()}: clip {clip} {others} missing")
        return table.drop_columns([IDS]).take(rows)

    def _check_once(self, names: pa.ChunkedArray, sizes: list[int]) -> None:
        """Raises ConfigError naming the file in which a clip is for the second time."""
        if pc.count_distinct(names).as_py() == len(names):
            return
        counts = pc.value_counts(names)
        clip = counts.filter(pc.greater(counts.field("counts"), 1))[0]["values"]
        second = np.flatnonzero(pc.equal(names, clip).to_numpy())[1]
        path = self.paths[int(np.searchsorted(np.cumsum(sizes), second, side="right"))]
        raise ConfigError(f"{path}: clip {clip} is there twice, or in another file too")

    def _where(self) -> str:
        """The file, or all files of the group."""
        if len(self.paths) == 1:
            return self.paths[0]
        return os.path.join(os.path.dirname(self.paths[0]), f"*{SUFFIX}")


def find_groups(folder: str | os.PathLike) -> dict[str, tuple[str, ...]]:
    """The files of each group beside the catalog of a folder, local or remote."""
    root = os.path.join(folder, FOLDER)
    groups: dict[str, tuple[str, ...]] = {}
    for name in storage.files(root) if storage.is_dir(root) else []:
        group, _, file = name.partition("/")
        if file.endswith(SUFFIX):
            groups[group] = (*groups.get(group, ()), os.path.join(root, name))
    return groups


def named_in(expression: str, groups: dict[str, tuple[str, ...]]) -> Iterator[ColumnFiles]:
    """The columns, of each group that has any, whose names are words of an SQL expression."""
    words = {word.lower() for word in re.findall(r"\w+", expression)}
    for paths in groups.values():
        with storage.opened(paths[0]) as file:
            known = pq.read_schema(file).names
        names = tuple(name for name in known if name != IDS and name.lower() in words)
        if names:
            yield ColumnFiles(paths, names)


def _read(path: str, names: tuple[str, ...]) -> pa.Table:
    """IDS as strings, and the columns of these names."""
    try:
        table = pq.ParquetFile(storage.local(path)).read(columns=[IDS, *names])
        missing = [name for name in (IDS, *names) if name not in table.column_names]
        if missing:
            raise ConfigError(f"{path}: lacks the columns {', '.join(missing)}")
        table = table.select([IDS, *names])
        table = table.set_column(0, IDS, table[IDS].cast(pa.string()))
    except (pa.ArrowException, OSError) as error:
        raise ConfigError(f"{path}: not a readable file of columns: {one_line(error)}") from error
    if table[IDS].null_count:
        raise ConfigError(f"{path}: {IDS} is missing for {table[IDS].null_count} clips")
    return table
