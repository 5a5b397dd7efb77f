"""Writes datasets. A dataset is a folder:

    OUT/NAME.array_record    a shard: a record for each clip, its H.264 mp4 (or its latents)
    OUT/parts/NAME.json      the catalog rows of that shard; the shard is done when this exists
    OUT/catalog.parquet      the rows of all shards (data/sources/catalog.py)
    OUT/tokenizer.model      the tokenizer that counted the catalog's captions

ArrayRecordSource (data/sources/source.py) reads it, without the parts. Every file is renamed into
place once it is complete: a run that is killed leaves a *.tmp.
"""

import glob
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from array_record.python.array_record_module import ArrayRecordWriter

from videodit.config import ConfigError, check
from videodit.data.sources.catalog import Catalog
from videodit.data.sources.indexing import IndexedClip, make_catalog
from videodit.data.tokenizer import FILE as TOKENIZER_FILE
from videodit.data.tokenizer import Tokenizer, train_tokenizer
from videodit.data.video.files import encode, resize
from videodit.data.video.measure import measure, stretches
from videodit.files import read_json, replacing, write_json

PARTS = "parts"
SUFFIX = ".array_record"
# Compressing compressed video again makes it no smaller.
WRITER_OPTIONS = "group_size:1,uncompressed"


def is_finished(out: Path, name: str) -> bool:
    """Whether a shard and its rows exist; rows that a crash has damaged do not count."""
    if not (out / f"{name}{SUFFIX}").exists():
        return False
    try:
        read_rows(out, name)
    except ConfigError:
        return False
    return True


def read_rows(out: Path, name: str) -> list[dict[str, Any]]:
    """The catalog rows of a shard. Raises ConfigError if they are missing or damaged."""
    rows = read_json(_part(out, name))
    check(isinstance(rows, list), str(_part(out, name)), rows, "a list of rows")
    return rows


def write_shard(
    out: Path, name: str, clips: Iterable[tuple[np.ndarray, dict[str, Any]]]
) -> list[dict[str, Any]]:
    """Encodes clips, each (frames uint8 T H W 3, row), into a shard; returns its catalog rows.

    A row has id, shape (width, height, frames, fps or None), fps, captions and split. The result
    adds motion and static (data/video/measure.py), the place in the shard and the bytes.
    """
    records = ((encode(frames, row["fps"]), row | _measured(frames)) for frames, row in clips)
    return write_records(out, name, records)


def write_records(
    out: Path, name: str, records: Iterable[tuple[bytes, dict[str, Any]]]
) -> list[dict[str, Any]]:
    """Writes records, each with its row, into a shard; returns the rows.

    The result adds the place in the shard and the bytes. No other process may write this shard at
    the same time.
    """
    _part(out, name).parent.mkdir(parents=True, exist_ok=True)
    for left in out.glob(f"{glob.escape(name + SUFFIX)}.*.tmp"):  # of a run that was killed
        left.unlink(missing_ok=True)
    rows: list[dict[str, Any]] = []
    with replacing(out / f"{name}{SUFFIX}") as temporary:
        writer = ArrayRecordWriter(str(temporary), WRITER_OPTIONS)
        try:
            for record, row in records:
                writer.write(record)
                place = {"shard": f"{name}{SUFFIX}", "index": len(rows), "bytes": len(record)}
                rows.append(row | place)
        finally:
            writer.close()
    write_json(_part(out, name), rows)
    return rows


def pick_tokenizer(
    folder: str, out: Path, rows: list[dict[str, Any]], vocab_size: int
) -> Tokenizer:
    """The tokenizer in `folder`, else the one in `out`, else a newly trained one.

    It is written to `out`. Raises ConfigError if `folder` is given and has none.
    """
    if folder:
        tokenizer = Tokenizer.read(folder)
    elif (out / TOKENIZER_FILE).exists():
        # What was trained with this tokenizer must stay usable when clips are added.
        print(f"keeps {out / TOKENIZER_FILE}; delete it to have another one trained")
        tokenizer = Tokenizer.read(out)
    else:
        texts = {text for row in rows for text in row["captions"] if row["split"] == "train"}
        tokenizer = train_tokenizer(sorted(texts), vocab_size)
    tokenizer.write(out)
    return tokenizer


def write_catalog(out: Path, rows: list[dict[str, Any]], tokenizer: Tokenizer) -> Catalog:
    """Writes and returns the catalog of these rows, in this order."""
    catalog = make_catalog([_clip(row) for row in rows], tokenizer)
    catalog.write(out)
    return catalog


def _part(out: Path, name: str) -> Path:
    return out / PARTS / f"{name}.json"


def _measured(frames: np.ndarray) -> dict[str, float]:
    views = stretches(*frames.shape[:3])
    return measure(resize(frames, view) for view in views)._asdict()


def _clip(row: dict[str, Any]) -> IndexedClip:
    """A shard's row as a row of the catalog; rows of old shards lack motion and static."""
    width, height, frames, _ = row["shape"]
    return IndexedClip(
        ids=row["id"],
        shard=row["shard"],
        index=row["index"],
        width=width,
        height=height,
        frames=frames,
        fps=row["fps"],
        captions=tuple(row["captions"]),
        split=row["split"],
        motion=row.get("motion", np.nan),
        static=row.get("static", np.nan),
    )
