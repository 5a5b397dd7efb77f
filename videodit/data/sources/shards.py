"""How the tools write a dataset: shards of encoded clips, what was made of them, the catalog.

    OUT/NAME.array_record    encoded clips (of tools/encode_latents.py: their latents)
    OUT/parts/NAME.json      their rows of the catalog; a shard is done when this is there
    OUT/catalog.parquet      the rows of all shards, captions counted with
    OUT/tokenizer.model

Every file is renamed into place once it is complete: what a killed run leaves of it is a *.tmp.
"""

import contextlib
import glob
import json
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from array_record.python.array_record_module import ArrayRecordWriter

from videodit.data.sources.catalog import Catalog
from videodit.data.sources.indexing import IndexedClip, make_catalog
from videodit.data.tokenizer import FILE as TOKENIZER_FILE
from videodit.data.tokenizer import Tokenizer, train_tokenizer
from videodit.data.video.files import encode, resize
from videodit.data.video.measure import measure, stretches

PARTS = "parts"
SUFFIX = ".array_record"
# Compressed video does not get smaller by compressing it again.
WRITER_OPTIONS = "group_size:1,uncompressed"


def is_finished(out: Path, name: str) -> bool:
    """Whether a shard and its rows are there."""
    return _part(out, name).exists() and (out / f"{name}{SUFFIX}").exists()


def read_rows(out: Path, name: str) -> list[dict]:
    """The catalog rows of a finished shard."""
    return json.loads(_part(out, name).read_text())


def write_shard(out: Path, name: str, clips: Iterable[tuple[np.ndarray, dict]]) -> list[dict]:
    """Encodes clips, each (frames uint8 T H W 3, row), into a shard; returns its catalog rows.

    A row has id, shape (width, height, frames, fps or None), fps, captions and split; what is
    measured, the place in the shard and the bytes are added to it.
    """
    records = ((encode(frames, row["fps"]), row | _measured(frames)) for frames, row in clips)
    return write_records(out, name, records)


def write_records(out: Path, name: str, records: Iterable[tuple[bytes, dict]]) -> list[dict]:
    """Writes records, each with its row, into a shard; returns the rows.

    The place in the shard and the bytes are added to a row. No other process may write it.
    """
    _part(out, name).parent.mkdir(parents=True, exist_ok=True)
    for left in out.glob(f"{glob.escape(name + SUFFIX)}.*.tmp"):  # by a run that was killed
        left.unlink(missing_ok=True)
    rows = []
    with replacing(out / f"{name}{SUFFIX}") as temporary:
        writer = ArrayRecordWriter(str(temporary), WRITER_OPTIONS)
        try:
            for record, row in records:
                writer.write(record)
                place = {"shard": f"{name}{SUFFIX}", "index": len(rows), "bytes": len(record)}
                rows.append(row | place)
        finally:
            writer.close()
    with replacing(_part(out, name)) as temporary:
        temporary.write_text(json.dumps(rows))
    return rows


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file to write, which becomes `path` if the block ends well and is deleted if it does not.

    Processes may do so at the same time: each has a file of its own, and the last to end stays.
    """
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def pick_tokenizer(folder: str, out: Path, rows: list[dict], vocab_size: int) -> Tokenizer:
    """The tokenizer in `folder`, else the one that `out` has, else a new one; written to `out`."""
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


def write_catalog(out: Path, rows: list[dict], tokenizer: Tokenizer) -> Catalog:
    """The catalog of these rows, in this order."""
    catalog = make_catalog([_clip(row) for row in rows], tokenizer)
    catalog.write(out)
    return catalog


def _part(out: Path, name: str) -> Path:
    return out / PARTS / f"{name}.json"


def _measured(frames: np.ndarray) -> dict[str, float]:
    views = stretches(*frames.shape[:3])
    return measure(resize(frames, view) for view in views)._asdict()


def _clip(row: dict) -> IndexedClip:
    """A shard's row as a row of the catalog; those of old know no motion."""
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
