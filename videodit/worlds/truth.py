"""Everything known about the clips of a world's dataset: one Parquet file a shard, one row a clip.

    FOLDER/NAME.array_record     encoded clips
    FOLDER/truth/NAME.parquet    their truth, in the same order

The columns are the fields of `Truth`, so SQL can query them, for example with DuckDB:

    SELECT id FROM 'FOLDER/truth/*.parquet' WHERE slots['a.color'] = 'red'
"""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from videodit.config import ConfigError
from videodit.worlds.world import Slots

FOLDER = "truth"

_SLOTS = pa.map_(pa.string(), pa.string())
SCHEMA = pa.schema(
    {
        "id": pa.string(),
        "world": pa.string(),
        "seed": pa.int64(),
        "combinations": pa.string(),
        "scenes": pa.string(),
        "short": pa.string(),
        "short_slots": _SLOTS,
        "long": pa.string(),
        "long_slots": _SLOTS,
        "slots": _SLOTS,
        "states": pa.string(),
    }
)
MAPS = [field.name for field in SCHEMA if field.type == _SLOTS]


class Truth(NamedTuple):
    """A clip's truth. World, seed, shape, combinations and scenes suffice to render it again."""

    id: str  # the clip's id in the catalog
    world: str
    seed: int
    combinations: str
    scenes: str
    short: str  # the short caption
    short_slots: Slots  # what it claims
    long: str
    long_slots: Slots
    slots: Slots  # every fact that the frames show
    states: list[dict]  # one for each frame; the file holds them as JSON


def truth_file(folder: str | os.PathLike, shard: str) -> Path:
    """The file with the truth of a shard's clips; `shard`: its name in the catalog."""
    return Path(folder) / FOLDER / f"{Path(shard).stem}.parquet"


def write_truth(path: str | os.PathLike, truths: Iterable[Truth]) -> None:
    """Writes the truth of a shard's clips, in the order of the shard."""
    rows = [truth._asdict() for truth in truths]
    for row in rows:
        row["states"] = json.dumps(row["states"], separators=(",", ":"))
        row |= {name: list(row[name].items()) for name in MAPS}
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), path, compression="zstd")


def read_truth(folder: str | os.PathLike, shard: str) -> list[Truth]:
    """The truth of a shard's clips. Clip i of a catalog is at position `catalog.index[i]`.

    Raises ConfigError if the file is missing or cannot be read.
    """
    path = truth_file(folder, shard)
    try:
        rows = pq.read_table(path, schema=SCHEMA).to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise ConfigError(f"{path}: no readable truth of {shard}: {error}") from error
    for row in rows:
        row |= {name: dict(row[name]) for name in MAPS}
        row["states"] = json.loads(row["states"])
        row["scenes"] = row["scenes"] or "all"  # files of older versions do not say it
    return [Truth(**row) for row in rows]
