"""Records of ArrayRecord shards in one folder, local or remote."""

import functools
import os
from collections.abc import Callable
from typing import Any

from array_record.python.array_record_data_source import ArrayRecordDataSource

from videodit.data.sources import storage

OPEN_SHARDS = 128  # shards that a process has open at once


class Records:
    """Opens shards when they are first needed; several threads may read them.

    Pickling leaves out the open shards.
    """

    def __init__(self, folder: str | os.PathLike) -> None:
        self._folder = folder

    def read(self, shard: str, index: int) -> bytes:
        """A record of a shard. Raises ConfigError, RuntimeError, ValueError or IndexError."""
        return self._open(shard)[index]

    @functools.cached_property
    def _open(self) -> Callable[[str], ArrayRecordDataSource]:
        return functools.lru_cache(OPEN_SHARDS)(
            lambda shard: ArrayRecordDataSource(storage.local(os.path.join(self._folder, shard)))
        )

    def __getstate__(self) -> dict[str, Any]:
        return {"_folder": self._folder}
