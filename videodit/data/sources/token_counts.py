"""Token counts of captions for tokenizers that did not count a catalog when it was made.

FOLDER/columns/tokens-DIGEST/*.parquet: the counts of the tokenizer with this digest, a group of
columns as column_files.py describes it. It is written when a catalog is opened with a tokenizer
that has no counts there: beside the catalog or, where that cannot be written, into the cache.
"""

import hashlib
import logging
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from videodit.config import ConfigError, one_line
from videodit.data.progress import Progress
from videodit.data.sources import storage
from videodit.data.sources.column_files import FOLDER, IDS, SUFFIX, ColumnFiles, find_groups
from videodit.data.sources.columns import BATCH_ROWS, Ragged
from videodit.data.tokenizer import Tokenizer
from videodit.files import replacing

PREFIX = "tokens-"  # of a group's name
COLUMN = "text_tokens"
CATALOG_KEY = b"videodit.catalog"  # Parquet metadata: fingerprint of the catalog that was counted
SCHEMA = pa.schema({IDS: pa.string(), COLUMN: pa.list_(pa.int32())})

logger = logging.getLogger(__name__)


def find_counts(
    folder: str | os.PathLike, catalog: str | os.PathLike, tokenizer: Tokenizer
) -> ColumnFiles:
    """The files with the counts of a tokenizer for the captions in the file `catalog`.

    folder: the dataset's, beside whose catalog they are. Counts that are missing, or that were
    written here for another catalog, are made, once a machine. Raises ConfigError.
    """
    with storage.locked(f"token counts {folder} {tokenizer.digest}"):
        paths = find_groups(folder).get(PREFIX + tokenizer.digest, ())
        if not paths or _is_stale(paths, fingerprint(catalog)):
            paths = (_write_somewhere(folder, catalog, tokenizer),)
    return ColumnFiles(paths, (COLUMN,))


def read_counts(files: ColumnFiles, catalog: Path) -> Ragged:
    """The counts, in the order of the file `catalog`. Raises ConfigError naming a file."""
    table = pq.read_table(catalog, columns=[IDS, COLUMN])
    counts = files.read(table[IDS].cast(pa.string()))[COLUMN]
    try:
        counts = counts.cast(SCHEMA.field(COLUMN).type).combine_chunks()
    except pa.ArrowException as error:
        raise ConfigError(
            f"{files.paths[0]}: {COLUMN} has the wrong type: {one_line(error)}"
        ) from error
    lengths = (pc.fill_null(pc.list_value_length(x), 0) for x in (counts, table[COLUMN]))
    there, expected = (length.to_numpy() for length in lengths)
    if (there != expected).any():
        row = int(np.argmax(there != expected))
        raise ConfigError(
            f"{files.paths[0]}: clip {table[IDS][row]} has {there[row]} token counts, "
            f"but {expected[row]} captions"
        )
    offsets = counts.offsets.to_numpy().astype(np.int64)
    return Ragged(offsets - offsets[0], counts.flatten().to_numpy())


def fingerprint(parquet: str | os.PathLike) -> str:
    """16 hexadecimal digits of a Parquet file's footer, wherever the file lies.

    The footer holds sizes and extremes of all columns, so it changes when the texts change.
    """
    with storage.opened(parquet) as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(end - 8)
        size = int.from_bytes(file.read(4), "little")
        file.seek(max(end - 8 - size, 0))
        return hashlib.sha256(file.read(size)).hexdigest()[:16]


def _is_stale(paths: tuple[str, ...], catalog: str) -> bool:
    """Whether one of the files was written for a catalog of another fingerprint.

    Files that other programs have made do not name a catalog; they are not stale.
    """
    for path in paths:
        with storage.opened(path) as file:
            known = (pq.read_schema(file).metadata or {}).get(CATALOG_KEY)
        if known and known.decode() != catalog:
            return True
    return False


def _write_somewhere(
    folder: str | os.PathLike, catalog: str | os.PathLike, tokenizer: Tokenizer
) -> str:
    """Writes the counts beside the catalog or into the cache; returns the name of the file."""
    if not storage.is_remote(folder):
        path = Path(folder) / FOLDER / (PREFIX + tokenizer.digest) / f"counts{SUFFIX}"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path) as temporary:
                _write(catalog, tokenizer, temporary)
            return str(path)
        except OSError as error:
            logger.info("%s cannot be written (%s): the cache keeps it", path, error)
    key = f"token counts {catalog} {fingerprint(catalog)} {tokenizer.digest}"
    write = lambda path: _write(catalog, tokenizer, path)
    return str(storage.cached(key, f"counts{SUFFIX}", write))


def _write(catalog: str | os.PathLike, tokenizer: Tokenizer, path: Path) -> None:
    schema = SCHEMA.with_metadata({CATALOG_KEY: fingerprint(catalog)})
    with (
        pq.ParquetFile(storage.local(catalog)) as file,
        pq.ParquetWriter(path, schema) as writer,
    ):
        progress = Progress(file.metadata.num_rows, "clips' captions counted")
        for batch in file.iter_batches(BATCH_ROWS, columns=[IDS, "captions"]):
            captions = batch["captions"].cast(pa.list_(pa.string()))
            lengths = pc.fill_null(pc.list_value_length(captions), 0).to_numpy()
            counts = tokenizer.count(captions.flatten().to_pylist())
            lists = pa.ListArray.from_arrays(
                pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32()),
                pa.array(counts, pa.int32()),
            )
            ids = batch[IDS].cast(pa.string())
            writer.write_table(pa.table([ids, lists], schema=schema))
            progress.advance(len(batch))
