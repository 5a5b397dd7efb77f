"""The order in which clips are picked: an endless shuffled stream for each source.

The order is a permutation whose values are computed when they are asked for: no table, no state.
"""

import functools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from videodit.config import ConfigError
from videodit.data.planning.hashing import hash_key, mix, permute
from videodit.data.sources.catalog import Catalog, Part

# Clips are sorted by size into strata, and the strata are taken in turn: then any stretch of picks
# holds about the same number of tokens.
STRATA = 64
LEAST_STRATUM = 16  # clips


class ShuffledOrder:
    """An endless shuffled order of clips: every epoch holds each of them once.

    Clips of about the same size form a stratum, and the strata are taken in turn, small and large
    ones mixed.
    """

    def __init__(self, clips: np.ndarray, sizes: np.ndarray, seed: int, name: str) -> None:
        """`clips` (n int) are rows of the catalog, `sizes` (n int) what they are sorted by."""
        self.clips = clips[np.argsort(sizes, kind="stable")].astype(np.int32)
        self.key = hash_key(seed, "order", name)
        strata = max(1, min(STRATA, len(clips) // LEAST_STRATUM))
        # The golden ratio's multiples spread evenly over any stretch (Weyl, 1916).
        self.turns = np.argsort(np.argsort(np.arange(strata) * 0.6180339887498949 % 1))
        least, more = divmod(len(clips), strata)
        self.sizes = np.empty(strata, np.int64)
        self.sizes[self.turns] = least + (np.arange(strata) < more)  # the last cycle is cut short
        self.starts = self.sizes.cumsum() - self.sizes

    def __call__(self, numbers: np.ndarray) -> np.ndarray:
        """The clips of the picks with these numbers (n int64): n int64 rows of the catalog."""
        epoch, at = np.divmod(numbers, len(self.clips))
        within, turn = np.divmod(at, len(self.turns))
        stratum = self.turns[turn]
        keys = mix(mix(self.key + epoch.astype(np.uint64)) + stratum.astype(np.uint64))
        place = permute(within, self.sizes[stratum], keys, int(self.sizes.max()))
        return self.clips[self.starts[stratum] + place].astype(np.int64)


class Stream(NamedTuple):
    """Clips with an order of their own, which get a fixed share of every group's tokens."""

    start: int  # first row of the source in the catalog
    stop: int  # the row after its last
    order: ShuffledOrder
    weight: float  # share of the source; the weights of all sources add up to 1
    kind: str  # "images", "videos", or "" for both

    def share(self, images: tuple[float, ...]) -> float:
        """The share of the vision tokens; `images` is the row of data.views.images that holds."""
        share = images[0] if images else 0.0
        return self.weight * {"images": share, "videos": 1 - share, "": 1.0}[self.kind]


def make_streams(
    catalog: Catalog, parts: Sequence[Part], seed: int, *, images_apart: bool
) -> Iterator[Stream]:
    """Yields a stream of training clips for each source.

    With `images_apart` a source has a stream of its images and one of its videos. A source without
    training clips has no stream. Raises ConfigError if no source has any.
    """
    train = np.flatnonzero(np.asarray(catalog.split) == "train")
    if not len(train):
        raise ConfigError(f"data.catalog: none of its {len(catalog)} clips is for training")
    bounds = [np.searchsorted(train, (part.start, part.stop)) for part in parts]
    total = sum(part.weight for part, (first, last) in zip(parts, bounds) if first < last)
    for number, (part, (first, last)) in enumerate(zip(parts, bounds)):
        clips = train[first:last]
        if not len(clips):
            continue
        columns = (catalog.width, catalog.height, catalog.frames)
        sizes = functools.reduce(np.multiply, (c[clips].astype(np.int64) for c in columns))
        images = catalog.frames[clips] == 1
        kinds = {"": np.ones_like(images)}
        if images_apart and images.any() and not images.all():
            kinds = {"images": images, "videos": ~images}
        for kind, mask in kinds.items():
            order = ShuffledOrder(clips[mask], sizes[mask], seed, f"{number} {kind}")
            yield Stream(part.start, part.stop, order, part.weight / total, kind)
