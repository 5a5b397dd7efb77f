"""The catalog: one row a clip, everything that the plan needs to know before a frame is decoded.

In memory it is numpy columns, on disk one Parquet file beside the shards of clips.
"""

import dataclasses
import itertools
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from videodit.config import ConfigError

FILE = "catalog.parquet"
TOKENIZER_KEY = b"videodit.tokenizer"  # Parquet metadata: digest of the tokenizer of the counts
SPLITS = ("train", "val")

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
    }
)


@dataclass(frozen=True, eq=False)
class Catalog:
    """N clips, column by column."""

    ids: np.ndarray  # N str: unique names
    shard: np.ndarray  # N str: file that holds the clip, in the catalog's folder
    index: np.ndarray  # N int32: record of the shard
    width: np.ndarray  # N int32 pixels
    height: np.ndarray  # N int32 pixels
    frames: np.ndarray  # N int32; 1 is an image
    fps: np.ndarray  # N float32 frames per second
    captions: list[tuple[str, ...]]  # N, one or more each
    text_tokens: list[tuple[int, ...]]  # N: tokens of each caption, BOS and EOS included
    split: np.ndarray  # N str: "train" or "val"
    tokenizer: str  # digest of the tokenizer that text_tokens was counted with

    def __len__(self) -> int:
        return len(self.ids)

    def select(self, rows: np.ndarray) -> "Catalog":
        """The clips of a mask (N bool) or of indices (int, any order)."""
        rows = np.asarray(rows)
        rows = np.flatnonzero(rows) if rows.dtype == bool else rows.astype(np.int64)
        picked = {}
        for name in SCHEMA.names:
            column = getattr(self, name)
            is_list = isinstance(column, list)
            picked[name] = [column[i] for i in rows.tolist()] if is_list else column[rows]
        return dataclasses.replace(self, **picked)

    def write(self, folder: str | os.PathLike) -> None:
        """Writes `folder`/catalog.parquet, in one piece or not at all. Makes the folder."""
        columns = [
            pa.array(getattr(self, name), _plain(SCHEMA.field(name))) for name in SCHEMA.names
        ]
        table = pa.table([c.cast(f.type) for c, f in zip(columns, SCHEMA)], schema=SCHEMA)
        table = table.replace_schema_metadata({TOKENIZER_KEY: self.tokenizer})
        path = Path(folder) / FILE
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(f".{os.getpid()}.tmp")
        pq.write_table(table, temporary)
        temporary.replace(path)

    @classmethod
    def read(cls, folder: str | os.PathLike) -> "Catalog":
        """The catalog in `folder`. Raises ConfigError if it is missing, foreign or empty."""
        path = Path(folder) / FILE
        table = _read_table(path)
        columns = {
            name: _column(table[name].combine_chunks(), SCHEMA.field(name).type)
            for name in SCHEMA.names
        }
        catalog = cls(**columns, tokenizer=table.schema.metadata[TOKENIZER_KEY].decode())
        _check_rows(catalog, path)
        return catalog


def _plain(field: pa.Field) -> pa.DataType:
    return pa.string() if field.type == _NAME else field.type


def _read_table(path: Path) -> pa.Table:
    """The Parquet file with the columns of SCHEMA, or a ConfigError that says what is wrong."""
    if not path.is_file():
        raise ConfigError(f"{path}: no such catalog; tools.curate makes one from videos")
    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise ConfigError(f"{path}: not a readable Parquet file: {error}") from error
    if TOKENIZER_KEY not in (table.schema.metadata or {}):
        raise ConfigError(f"{path}: not a videodit catalog (no {TOKENIZER_KEY.decode()} metadata)")
    missing = [name for name in SCHEMA.names if name not in table.column_names]
    if missing:
        raise ConfigError(f"{path}: lacks the columns {', '.join(missing)}")
    if not table.num_rows:
        raise ConfigError(f"{path}: holds no clips")
    try:
        return table.select(SCHEMA.names).cast(SCHEMA.with_metadata(table.schema.metadata))
    except pa.ArrowException as error:
        raise ConfigError(f"{path}: a column has the wrong type: {error}") from error


def _column(array: pa.Array, kind: pa.DataType) -> np.ndarray | list[tuple]:
    """Arrow to numpy; lists become tuples. No Python object is made twice for the same name."""
    if kind == _NAME:
        names = np.array(array.dictionary.to_pylist(), object)
        return names[array.indices.to_numpy()]
    if pa.types.is_list(kind):
        values, offsets = array.flatten().to_pylist(), array.offsets.to_numpy()
        offsets = (offsets - offsets[0]).tolist()
        return [tuple(values[a:b]) for a, b in itertools.pairwise(offsets)]
    return array.to_numpy(zero_copy_only=False)


def _check_rows(catalog: Catalog, path: Path) -> None:
    """Raises ConfigError naming the first clip whose values cannot be."""
    sizes = np.minimum.reduce([catalog.width, catalog.height, catalog.frames, catalog.index + 1])
    captions = np.array([len(captions) for captions in catalog.captions])
    counts = np.array([len(counts) for counts in catalog.text_tokens])
    for good, what in (
        (sizes >= 1, "width, height and frames of at least 1, and an index of at least 0"),
        (catalog.fps > 0, "fps above 0"),
        (np.isin(catalog.split, SPLITS), f"a split of {' or '.join(SPLITS)}"),
        ((captions >= 1) & (captions == counts), "captions, and a token count for each"),
    ):
        if not good.all():
            raise ConfigError(f"{path}: clip {catalog.ids[np.argmin(good)]}: expected {what}")
