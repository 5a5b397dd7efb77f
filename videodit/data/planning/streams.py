"""In which order clips are drawn: an endless shuffled stream of each source.

The order is a permutation that is computed where it is asked for: no table, no state.
"""

import functools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from videodit.config import ConfigError
from videodit.data.planning.hashing import hash_key, mix, permute
from videodit.data.sources.catalog import Catalog, Part

STRATA = 64  # of sizes, taken in turn, so that any stretch of draws holds about as many tokens
LEAST_STRATUM = 16  # clips


class Order:
    """An endless shuffled order of clips: every epoch holds each of them once.

    Clips of like size form a stratum, and the strata are taken in turn, small and large ones mixed.
    """

    def __init__(self, clips: np.ndarray, sizes: np.ndarray, seed: int, name: str):
        """`clips` and `sizes`: n int, rows of the catalog and what they are sorted by."""
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
        """The clips of draws (n int64): n int64 rows of the catalog."""
        epoch, at = np.divmod(numbers, len(self.clips))
        within, turn = np.divmod(at, len(self.turns))
        stratum = self.turns[turn]
        keys = mix(mix(self.key + epoch.astype(np.uint64)) + stratum.astype(np.uint64))
        place = permute(within, self.sizes[stratum], keys, int(self.sizes.max()))
        return self.clips[self.starts[stratum] + place].astype(np.int64)


class Stream(NamedTuple):
    """Clips that are drawn in an order of their own, to a share of every group's tokens."""

    start: int  # rows of the catalog: the source's first,
    stop: int  # and the one after its last
    order: Order
    weight: float  # of the source, all adding up to 1
    kind: str  # "images", "videos", or "" for both

    def share(self, images: tuple[float, ...]) -> float:
        """Of the vision tokens, where `images` is the row of data.views.images that holds."""
        share = images[0] if images else 0.0
        return self.weight * {"images": share, "videos": 1 - share, "": 1.0}[self.kind]


def make_streams(
    catalog: Catalog, parts: Sequence[Part], seed: int, *, images_apart: bool
) -> Iterator[Stream]:
    """One stream of training clips for each source, or one of its images and one of its videos.

    A source without clips for training has none. Raises ConfigError if no source has any.
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
            order = Order(clips[mask], sizes[mask], seed, f"{number} {kind}")
            yield Stream(part.start, part.stop, order, part.weight / total, kind)
