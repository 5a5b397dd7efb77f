"""Stored latents: clips that tools/encode_latents.py has encoded once, read instead of pixels.

FOLDER/NAME.array_record     a record for each clip: its latents t h w C, without a header
FOLDER/catalog.parquet       which record holds which clip
FOLDER/stored_latents.json   `Description`
"""

import functools
import math
import os
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import ml_dtypes
import numpy as np
import pyarrow.compute as pc

from videodit.config import ConfigError, one_line
from videodit.data import patches
from videodit.data.patches import Size
from videodit.data.sources import storage
from videodit.data.sources.catalog import Catalog, Part
from videodit.data.sources.kept import KeptFile
from videodit.data.sources.records import Records
from videodit.data.video.files import View, whole
from videodit.files import read_object

DESCRIPTION = "stored_latents.json"
DTYPES = {"float32": np.float32, "bfloat16": ml_dtypes.bfloat16, "float16": np.float16}
MATCHED = ("width", "height", "frames", "fps")  # columns that are equal in both catalogs


class Description(NamedTuple):
    """What the latents are, and their statistics over the training clips (all clips if none is)."""

    encoder: str  # digest of the encoder (models/autoencoder.py:encoder_digest)
    dtype: str  # dtype of the records: one of DTYPES
    patch: Size
    channels: int
    mean: list[float]  # C
    deviation: list[float]  # C: std
    left_out: list[str]  # ids of damaged clips, which have no latents

    @classmethod
    def read(cls, folder: str | os.PathLike) -> "Description":
        """Reads the description in a folder, local or remote. Raises ConfigError if it has none."""
        path = os.path.join(folder, DESCRIPTION)
        if not storage.is_file(path):
            raise ConfigError(
                f"data.latents={os.fspath(folder)!r}: expected a folder that "
                f"`python -m tools.encode_latents` has finished; it has no {DESCRIPTION}"
            )
        values = read_object(storage.local(path))
        try:
            return cls(**values)
        except TypeError as error:
            raise ConfigError(f"{path}: damaged: {one_line(error)}") from error


class _Source(Protocol):  # data/sources/source.py:Source, without a circle of imports
    key: str

    @property
    def catalog(self) -> Catalog: ...

    @property
    def parts(self) -> tuple[Part, ...]: ...


class LatentSource:
    """The clips of another source as latents: the catalog is the same, what is read differs."""

    def __init__(self, source: "_Source", folder: str | os.PathLike) -> None:
        """Raises ConfigError if `folder` lacks clips of `source`."""
        self._source, self._folder = source, os.fspath(folder)
        self.description = Description.read(folder)
        self._store, self._records = KeptFile(folder, ""), Records(folder)
        self.key, self.channels = source.key, self.description.channels
        _ = self._rows  # so that an error in them is raised now

    @property
    def catalog(self) -> Catalog:
        """The catalog of the source."""
        return self._source.catalog

    @property
    def parts(self) -> tuple[Part, ...]:
        """The parts of the source."""
        return self._source.parts

    def check_encoder(self, digest: str, workdir: str) -> None:
        """Raises ConfigError unless the encoder with this digest made the latents."""
        if digest != self.description.encoder:
            raise ConfigError(
                f"data.latents={self._folder!r}: made by another autoencoder "
                f"({self.description.encoder}) than autoencoder.workdir={workdir!r} ({digest})"
            )

    def read(self, i: int, view: View) -> np.ndarray:
        """The latents of the whole clip in row i of the catalog: float32 t h w C.

        Raises ConfigError naming the clip if it has no latents or damaged ones.
        """
        clip, row = self.catalog, int(self._rows[i])
        size = int(clip.frames[i]), int(clip.height[i]), int(clip.width[i])
        if row < 0:
            raise ConfigError(f"clip {clip.ids[i]} was damaged when latents were made")
        if view != whole(*size):
            raise ConfigError(f"clip {clip.ids[i]}: has latents of the whole clip, not of {view}")
        shard, record = self._store.catalog.shard[row], int(self._store.catalog.index[row])
        shape = (*patches.grid(*size, self.description.patch), self.channels)
        try:
            return _decode(self._records.read(shard, record), self.description.dtype, shape)
        except (ConfigError, RuntimeError, ValueError, IndexError) as error:
            where = f"record {record} of {shard} in {self._folder}"
            raise ConfigError(f"clip {clip.ids[i]}, {where}: {one_line(error)}") from error

    @functools.cached_property
    def _rows(self) -> np.ndarray:
        """N int32: each clip's row in the catalog of the stored latents, or -1 if it has none."""
        key = repr(("latents", self._store.key, self.key))
        read = lambda path: np.load(path, mmap_mode="r", allow_pickle=False)
        return storage.load(key, "rows.npy", self._write_rows, read)

    def _write_rows(self, path: Path) -> None:
        with open(path, "wb") as file:
            np.save(file, self._match())

    def _match(self) -> np.ndarray:
        """Finds every clip by its id. Raises ConfigError for one that is missing or differs."""
        clips, stored = self.catalog, self._store.catalog
        found = pc.index_in(clips.ids.to_arrow(), value_set=stored.ids.to_arrow().combine_chunks())
        rows = pc.fill_null(found, -1).to_numpy().astype(np.int32)
        has = rows >= 0
        for name in MATCHED:
            same = getattr(clips, name)[has] == getattr(stored, name)[rows[has]]
            if not same.all():
                i = int(np.flatnonzero(has)[same.argmin()])
                raise ConfigError(self._message(i, f"has another {name} there"))
        known = set(self.description.left_out)
        missing = [i for i in np.flatnonzero(~has).tolist() if clips.ids[i] not in known]
        if missing:
            raise ConfigError(
                self._message(missing[0], f"is missing, and so are {len(missing) - 1} others")
            )
        return rows

    def _message(self, i: int, what: str) -> str:
        return (
            f"data.latents={self._folder!r}: clip {self.catalog.ids[i]} {what}; "
            "`python -m tools.encode_latents` makes the latents of all clips"
        )

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_rows"}


def encode(latents: np.ndarray, dtype: str) -> bytes:
    """Latents t h w C as the bytes of a record. Raises ConfigError if some overflow `dtype`."""
    with np.errstate(over="ignore"):
        values = latents.astype(DTYPES[dtype])
    if not np.isfinite(values).all():
        raise ConfigError(f"its latents are not finite in {dtype}")
    return values.tobytes()


def _decode(record: bytes, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    expected = math.prod(shape) * np.dtype(DTYPES[dtype]).itemsize
    if len(record) != expected:
        raise ConfigError(f"has {len(record)} bytes of latents, not the {expected} of {shape}")
    latents = np.frombuffer(record, DTYPES[dtype]).astype(np.float32).reshape(shape)
    if not np.isfinite(latents).all():
        raise ConfigError("has latents that are not finite")
    return latents
