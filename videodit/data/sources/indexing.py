"""Indexes: catalogs that are gathered from files of other formats when they are first used."""

import contextlib
import hashlib
import logging
import os
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pyarrow.parquet as pq

from videodit.config import ConfigError
from videodit.data.sources import storage
from videodit.data.sources.catalog import FILE, TOKENIZER_KEY, Catalog
from videodit.data.sources.columns import Ragged
from videodit.data.tokenizer import Tokenizer

logger = logging.getLogger(__name__)

FOLDER = ".videodit"  # holds the index, inside the folder that is indexed
PROGRESS_SECONDS = 10.0  # between two lines of the log

Item = TypeVar("Item")
Result = TypeVar("Result")


class IndexedClip(NamedTuple):
    """A row of a catalog before its captions are counted."""

    ids: str
    shard: str
    index: int  # type: ignore[assignment]  # the catalog's name hides tuple.index
    width: int  # pixels
    height: int
    frames: int
    fps: float
    captions: tuple[str, ...]
    split: str
    motion: float
    static: float


def make_catalog(clips: Sequence[IndexedClip], tokenizer: Tokenizer) -> Catalog:
    """The catalog of these clips in this order, with captions counted by `tokenizer`."""
    kinds = {
        **dict.fromkeys(("index", "width", "height", "frames"), np.int32),
        **dict.fromkeys(("fps", "motion", "static"), np.float32),
        "split": object,
    }
    columns: dict[str, Any] = dict(zip(IndexedClip._fields, zip(*clips)))
    for name, kind in kinds.items():
        columns[name] = np.array(columns[name], kind)
    counts = [[len(tokenizer.encode(text)) for text in clip.captions] for clip in clips]
    return Catalog(**columns, caption_lengths=Ragged.of(counts), tokenizer=tokenizer.digest)


def split_of(name: str, val_fraction: float) -> str:
    """The split of a clip whose source knows no splits: a hash of its name decides.

    A larger fraction holds out more clips, and all that a smaller one does.
    """
    number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
    place = number % 100 * 10_000 + number // 100 % 10_000  # in millionths
    return "val" if place < round(val_fraction * 1_000_000) else "train"


def index_folder(folder: str | os.PathLike, name: str = "") -> Path:
    """Where the index of a folder is kept: inside it, or in the cache if it cannot be written.

    Raises ConfigError if there is no such folder.
    """
    if not storage.is_dir(folder):
        raise ConfigError(f"data.catalog={os.fspath(folder)!r}: no such folder")
    inside = Path(folder) / FOLDER / name
    if not storage.is_remote(folder):
        with contextlib.suppress(OSError):
            inside.mkdir(parents=True, exist_ok=True)
        if os.access(inside, os.W_OK):
            return inside
        folder = Path(folder).resolve()
    key = hashlib.sha256(f"{folder} {name}".encode()).hexdigest()[:16]
    return storage.cache_folder() / f"{key}-index"


class Index:
    """The clips of an index folder, each with the stamp of its file when it was indexed."""

    def __init__(self, folder: Path) -> None:
        """Reads the index; one that is missing or cannot be read is empty."""
        self.folder = folder
        self.clips: dict[str, tuple[IndexedClip, str]] = {}
        self._tokenizer: str | None = None
        try:
            table = pq.read_table(folder / FILE)
            self._tokenizer = table.schema.metadata[TOKENIZER_KEY].decode()
            for row in table.select([*IndexedClip._fields, "stamp"]).to_pylist():
                stamp, captions = row.pop("stamp"), tuple(row.pop("captions"))
                clip = IndexedClip(**row, captions=captions)
                self.clips[clip.ids] = clip, stamp
        except (OSError, KeyError, TypeError, ValueError):  # Arrow's errors are among these
            logger.info("%s: no usable index, it is made anew", folder)

    def update(self, clips: list[IndexedClip], stamps: list[str], tokenizer: Tokenizer) -> None:
        """Writes the catalog of these clips, unless the index holds just these already."""
        new = {clip.ids: (clip, stamp) for clip, stamp in zip(clips, stamps)}
        if tokenizer.digest != self._tokenizer or list(new.items()) != list(self.clips.items()):
            make_catalog(clips, tokenizer).write(self.folder, {"stamp": stamps})


def run_all(
    function: Callable[[Item], Result], items: Iterable[Item], count: int, what: str
) -> list[Result | None]:
    """Results of `function` for all items, in order, with a thread for each core.

    Logs, now and then, how many of the `count` items are done. Where `function` raises ConfigError,
    the error is logged and the result is None.
    """
    start = shown = time.monotonic()
    results: list[Result | None] = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for result in pool.map(lambda item: _try(function, item), items):
            results.append(result)
            now = time.monotonic()
            if now - shown >= PROGRESS_SECONDS:
                shown, left = now, (now - start) * (count / len(results) - 1)
                logger.info("%s: %d of %d, %.0f s left", what, len(results), count, left)
    return results


def _try(function: Callable[[Item], Result], item: Item) -> Result | None:
    try:
        return function(item)
    except ConfigError as error:
        logger.warning("left out: %s", error)
        return None
