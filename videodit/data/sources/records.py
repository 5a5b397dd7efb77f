"""Records of ArrayRecord shards in one folder, local or remote."""

import functools
import os
from collections.abc import Callable

from array_record.python.array_record_data_source import ArrayRecordDataSource

from videodit.data.sources import storage

OPEN_SHARDS = 128  # a process has open at once


class Records:
    """Shards are opened when first needed, and may then be read by several threads.

    It can be pickled, without what is open.
    """

    def __init__(self, folder: str | os.PathLike):
        self._folder = folder

    def read(self, shard: str, index: int) -> bytes:
        """The record of a shard. Raises ConfigError, RuntimeError, ValueError or IndexError."""
        return self._open(shard)[index]

    @functools.cached_property
    def _open(self) -> Callable[[str], ArrayRecordDataSource]:
        return functools.lru_cache(OPEN_SHARDS)(
            lambda shard: ArrayRecordDataSource(storage.local(os.path.join(self._folder, shard)))
        )

    def __getstate__(self):
        return {"_folder": self._folder}
