"""Sources of clips: shards, a folder of videos, tensorflow-datasets, or a mixture of these."""

import bisect
import os
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from videodit.config import SYNTHETIC, ConfigError, DataConfig, check
from videodit.data.sources import storage
from videodit.data.sources.catalog import FILE, Catalog, Part
from videodit.data.sources.folder import FolderSource
from videodit.data.sources.kept import Kept, KeptFile
from videodit.data.sources.latents import DESCRIPTION, LatentSource
from videodit.data.sources.records import Records
from videodit.data.sources.synthetic import SyntheticSource, synthetic_tokenizer
from videodit.data.sources.tfds import PREFIX, TfdsSource
from videodit.data.tokenizer import Tokenizer
from videodit.data.video.files import View, read_clip
from videodit.files import is_utf8


class Clips(Protocol):
    """Clips that can be read in any order and from several threads."""

    @property
    def catalog(self) -> Catalog:
        """What is known of the clips."""

    def read(self, i: int, view: View) -> np.ndarray:
        """The frames of `view` of the clip in row i of the catalog: uint8 T H W 3, RGB.

        A LatentSource gives the whole clip's latents instead: float32 t h w C. Raises ConfigError
        naming the clip and the reason.
        """


class Source(Clips, Protocol):
    """Clips with what a plan needs. A source can be pickled."""

    key: str  # equal keys mean equal catalogs

    @property
    def parts(self) -> tuple[Part, ...]:
        """The parts of the catalog, one after the other; a source that is no mixture has one."""


def open_source(cfg: DataConfig, tokenizer: Tokenizer) -> Source:
    """Opens the source that data.catalog names, or the mixture that data.mixture names.

    It holds only clips for which data.where is true, with captions counted by `tokenizer`. If
    data.latents is set, the clips' latents are read instead of pixels. Raises ConfigError.
    """
    source = _open_pixels(cfg, tokenizer)
    return LatentSource(source, cfg.latents) if cfg.latents else source


def _open_pixels(cfg: DataConfig, tokenizer: Tokenizer) -> Source:
    if cfg.mixture:
        names, weights = zip(*cfg.mixture)
        sources = [_open_one(name, tokenizer, cfg) for name in names]
        return MixtureSource(sources, weights)
    return _open_one(cfg.catalog, tokenizer, cfg)


def _open_one(name: str, tokenizer: Tokenizer, cfg: DataConfig) -> Source:
    where = cfg.where
    if not name:
        raise ConfigError(
            "data.catalog='': expected a folder made by "
            "`python -m tools.curate --input=VIDEOS --out=FOLDER`, a folder of videos and images, "
            f"'{PREFIX}BUILDER_FOLDER:SPLIT' or '{SYNTHETIC}'"
        )
    check(is_utf8(name), "data.catalog", name, "a path in UTF-8")
    if name.startswith(PREFIX):
        return TfdsSource(name, tokenizer, where, cfg.val_fraction)
    if name == SYNTHETIC:
        if where:
            raise ConfigError(f"data.where={where!r}: expected '' for '{SYNTHETIC}' clips")
        source: Source = SyntheticSource(tokenizer=tokenizer)
    elif storage.is_file(os.path.join(name, DESCRIPTION)):
        raise ConfigError(f"data.catalog={name!r}: holds latents; expected it in data.latents")
    elif storage.is_file(os.path.join(name, FILE)):
        source = ArrayRecordSource(name, where, tokenizer)
    elif storage.is_dir(name):
        return FolderSource(name, tokenizer, where, cfg.val_fraction)
    else:
        raise ConfigError(f"data.catalog={name!r}: no such folder")
    check_tokenizer(source.catalog, tokenizer)
    return source


def open_tokenizer(workdir: str, field: str = "text.workdir") -> Tokenizer:
    """The tokenizer that text.workdir names: "synthetic", or a folder with a tokenizer.model.

    Raises ConfigError if there is none.
    """
    if not workdir:
        raise ConfigError(f"{field}='': expected a folder with tokenizer.model, or '{SYNTHETIC}'")
    return synthetic_tokenizer() if workdir == SYNTHETIC else Tokenizer.read(workdir, field)


def check_tokenizer(catalog: Catalog, tokenizer: Tokenizer) -> None:
    """Raises ConfigError if the catalog's token counts were made with another tokenizer."""
    if catalog.tokenizer != tokenizer.digest:
        raise ConfigError(
            f"text.workdir: its tokenizer ({tokenizer.digest}) is not the one that counted the "
            f"captions of data.catalog ({catalog.tokenizer}): expected a source that was opened "
            "with the same tokenizer"
        )


class ArrayRecordSource(KeptFile):
    """Encoded clips in ArrayRecord shards beside their catalog, as tools.curate writes them."""

    def __init__(
        self, folder: str | os.PathLike, where: str = "", tokenizer: Tokenizer | None = None
    ) -> None:
        """Reads the catalog; shards are opened when first needed. Raises ConfigError.

        tokenizer: counts the captions; None: as the catalog's file says.
        """
        super().__init__(folder, where, tokenizer)
        self._records = Records(folder)

    def read(self, i: int, view: View) -> np.ndarray:
        """The frames of `view` of the clip in row i of the catalog: uint8 T H W 3, RGB.

        Raises ConfigError naming the clip and its shard if the shard is missing or lacks the clip,
        if it cannot be decoded, or if its size or frame count is not what the catalog says.
        """
        row, shard, record = self.catalog, self.catalog.shard[i], int(self.catalog.index[i])
        expected = (int(row.frames[i]), int(row.height[i]), int(row.width[i]))
        try:
            clip = self._records.read(shard, record)
            return read_clip(clip, view, float(row.fps[i]), expected=expected)
        except (ConfigError, RuntimeError, ValueError, IndexError) as error:
            where = f"record {record} of {shard}"
            raise ConfigError(f"clip {row.ids[i]}, {where}: {error}") from error


class MixtureSource(Kept):
    """The clips of several sources, one source after the other."""

    def __init__(self, sources: Sequence[Source], weights: Sequence[float]) -> None:
        """`weights` are shares of the vision tokens. One tokenizer has counted all captions."""
        self._sources, self._weights = tuple(sources), tuple(weights)
        self._stops = np.cumsum([len(source.catalog) for source in sources]).tolist()
        self.key = repr([source.key for source in sources])

    def make_catalog(self) -> Catalog:
        """The clips of the first source, then those of the next."""
        return Catalog.concatenate([source.catalog for source in self._sources])

    @property
    def parts(self) -> tuple[Part, ...]:
        """A part for each source."""
        return tuple(map(Part, [0, *self._stops], self._stops, self._weights))

    def read(self, i: int, view: View) -> np.ndarray:
        """The frames of `view` of the clip in row i: uint8 T H W 3, RGB. Raises ConfigError."""
        source = bisect.bisect_right(self._stops, i)
        first = self._stops[source - 1] if source else 0
        return self._sources[source].read(i - first, view)
