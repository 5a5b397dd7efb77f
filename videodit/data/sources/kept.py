"""Catalogs kept as files in the cache.

The files are mapped into memory, so the processes of a machine share them and start at once, and a
source is pickled without its catalog. They hold numbers and texts only: nothing on
disk is unpickled.
"""

import abc
import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from videodit.config import ConfigError
from videodit.data.sources import storage
from videodit.data.sources.catalog import FILE, SCHEMA, Catalog, Part, find_joined
from videodit.data.sources.columns import TEXTS, Ragged, load_texts, map_array, save_texts
from videodit.data.tokenizer import Tokenizer
from videodit.files import read_object, write_json

NUMBERS = [name for name in SCHEMA.names if name not in (*TEXTS.names, "text_tokens")]
OFFSETS, VALUES, REST = "offsets", "values", "catalog.json"


class Kept(abc.ABC):
    """A source whose catalog is kept in the cache; it is made again if the cache has lost it.

    Pickling leaves out every functools.cached_property.
    """

    key: str  # equal keys mean equal catalogs

    @abc.abstractmethod
    def make_catalog(self) -> Catalog:
        """The catalog in memory. Raises ConfigError."""

    @functools.cached_property
    def catalog(self) -> Catalog:
        """The clips, column by column; arrays are read-only."""
        return keep(self.key, self.make_catalog)

    @property
    def parts(self) -> tuple[Part, ...]:
        """One part, because this is no mixture."""
        return (Part(0, len(self.catalog), 1.0),)

    def __getstate__(self) -> dict[str, Any]:
        def is_cached(name: str) -> bool:
            return isinstance(getattr(type(self), name, None), functools.cached_property)

        return {name: value for name, value in vars(self).items() if not is_cached(name)}


class KeptFile(Kept):
    """A source whose catalog is that of a folder, or a part of it."""

    def __init__(
        self,
        folder: str | os.PathLike,
        where: str,
        tokenizer: Tokenizer | None = None,
        beside: str | os.PathLike | None = None,
    ) -> None:
        """Reads the catalog as Catalog.read does, but no texts yet. Raises ConfigError.

        tokenizer: counts the captions; None: as the catalog's file says. beside: the folder with
        columns that data.where may name, if it is another one.
        """
        if not storage.is_remote(folder):
            folder = os.path.abspath(folder)
        self._catalog_folder, self._where = os.fspath(folder), where
        self._stamp = self._stamp_now()
        self._joined = find_joined(folder, where, tokenizer, beside)
        # Without joined columns the key is as it was before there were any.
        self.key = repr((self._catalog_folder, self._stamp, where, *self._joined.stamps()))
        _ = self.catalog  # so that an error in it is raised now

    def make_catalog(self) -> Catalog:
        """The catalog in memory. Raises ConfigError, also if its file has changed."""
        if self._stamp_now() != self._stamp:
            raise ConfigError(f"{self._catalog_folder}: its {FILE} has changed since it was opened")
        return Catalog.read(self._catalog_folder, self._where, self._joined)

    def _stamp_now(self) -> str:
        return storage.stamp(os.path.join(self._catalog_folder, FILE))


def keep(key: str, make: Callable[[], Catalog]) -> Catalog:
    """The catalog that the cache has for `key`, mapped from files; `make()` makes a missing one."""
    write = lambda path: _write(make(), path)
    return storage.load(f"{REST} {SCHEMA.names} {key}", "catalog", write, _read)


def _read(folder: Path) -> Catalog:
    columns: dict[str, Any] = {
        name: map_array(folder, name) for name in (*NUMBERS, OFFSETS, VALUES)
    }
    lengths = Ragged(columns.pop(OFFSETS), columns.pop(VALUES))
    rest = read_object(folder / REST)
    columns |= load_texts(rest["texts"], folder)
    return Catalog(**columns, caption_lengths=lengths, tokenizer=rest["tokenizer"])


def _write(catalog: Catalog, folder: Path) -> None:
    folder.mkdir()
    arrays = {name: getattr(catalog, name) for name in NUMBERS}
    arrays["split"] = arrays["split"].astype(str)  # no Python objects
    lengths = catalog.caption_lengths
    arrays[OFFSETS], arrays[VALUES] = lengths.offsets, lengths.values
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    texts = save_texts({name: getattr(catalog, name) for name in TEXTS.names}, folder)
    write_json(folder / REST, {"tokenizer": catalog.tokenizer, "texts": texts})
