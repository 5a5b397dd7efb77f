"""Encodes the clips of a dataset once and writes their latents as shards.

`python -m tools.encode_latents` is the command; data/sources/latents.py describes the result.
"""

import functools
import hashlib
import itertools
import os
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import pyarrow as pa

from videodit.config import ConfigError, check
from videodit.curation.latents import AS_TRAINED, Encoder, Rows, open_reader, tokenizer_of
from videodit.data.loader import listed_batches
from videodit.data.packing import PackedBatch, unpack
from videodit.data.planning.fitting import fit_decreasing
from videodit.data.planning.picks import Picker
from videodit.data.planning.plan import CACHED, Row, place_rows
from videodit.data.progress import Progress
from videodit.data.reading import Reader
from videodit.data.sources.catalog import Catalog
from videodit.data.sources.columns import Texts
from videodit.data.sources.latents import DESCRIPTION, DTYPES, Description, encode
from videodit.data.sources.shards import is_finished, read_rows, write_records
from videodit.files import read_object, write_json
from videodit.sharding import local_mesh

SHARD_BATCHES = 16  # about so many batches make a shard; the last one is seldom full
STATISTICS = "statistics"  # folder with a file for each shard


class Shard(NamedTuple):
    """The clips start <= i < stop of the catalog."""

    name: str
    start: int
    stop: int


def encode_latents(
    autoencoder: str,
    data: str,
    out: str | os.PathLike,
    *,
    kind: str = "videodit",
    tokenizer: str = "",
    dtype: str = "float32",
    rows: Rows = AS_TRAINED,
    host: int = 0,
    hosts: int = 1,
) -> Catalog | None:
    """Makes this host's shards of `out`; once all hosts' shards are done, returns the catalog.

    `autoencoder` is a workdir, and `kind` what autoencoder.kind calls it. `data` is what
    data.catalog names, or several with commas between.
    `tokenizer` is a folder, as in text.workdir; "" takes that of `data`, else the autoencoder's.
    `dtype` is one of DTYPES, in which latents are stored. Raises ConfigError.
    """
    _check(autoencoder, data, out, dtype, host, hosts)
    with jax.set_mesh(local_mesh()):
        encoder = Encoder(autoencoder, kind)
        reader = open_reader(encoder.cfg, data, tokenizer or tokenizer_of(data, autoencoder), rows)
        work = Work(Path(out), dtype, encoder, reader)
        work.make(work.shards[host::hosts])
    left = sum(not work.is_finished(shard) for shard in work.shards)
    if left:
        print(f"{left} of {len(work.shards)} shards are left to the other hosts")
        return None
    return work.finish()


def _check(
    autoencoder: str, data: str, out: str | os.PathLike, dtype: str, host: int, hosts: int
) -> None:
    check(bool(str(out)), "out", out, "a folder")
    for name in (*data.split(","), autoencoder):  # their files have the same names
        same = os.path.realpath(name) == os.path.realpath(out)
        check(not same, "out", str(out), f"another folder than {name!r}")
    check(0 <= host < hosts, "host", host, f"from 0 to hosts - 1, which is {hosts - 1}")
    check(dtype in DTYPES, "dtype", dtype, f"one of {', '.join(DTYPES)}")


class Work:
    """The shards of `out`, and how they are made."""

    def __init__(self, out: Path, dtype: str, encoder: Encoder, reader: Reader) -> None:
        """Decides which clips go into which shard. Raises ConfigError."""
        self.out, self.dtype, self.encoder, self.reader = out, dtype, encoder, reader
        self.catalog = reader.source.catalog
        picker = Picker(self.catalog, reader.cfg, 0, reader.patch)
        self._picks = picker.held_out(np.arange(len(self.catalog)))
        self._counted = (
            np.asarray(self.catalog.split) == "train"
        )  # clips that the statistics are of
        if not self._counted.any():
            self._counted[:] = True
        self.shards = list(self._cut())

    def is_finished(self, shard: Shard) -> bool:
        """Whether a shard, its rows and its statistics exist and can be read."""
        try:
            read_object(self._statistics(shard))
        except ConfigError:
            return False
        return is_finished(self.out, shard.name)

    def make(self, shards: list[Shard]) -> None:
        """Makes the shards that are missing among these."""
        missing = [shard for shard in shards if not self.is_finished(shard)]
        total, clips = (sum(s.stop - s.start for s in some) for some in (shards, missing))
        progress = Progress(total, "clips")
        progress.skip(total - clips)
        packed = [self._pack(shard) for shard in missing]
        batches = list(itertools.chain.from_iterable(packed))

        @functools.lru_cache(CACHED)
        def rows_of(number: int) -> list[Row]:
            return place_rows(self._picks, batches[number])

        with closing(listed_batches(self.reader, rows_of, len(batches))) as loaded:
            encoded = self._encoded(loaded)
            for shard, own in zip(missing, packed):
                records = self._records(shard, itertools.islice(encoded, len(own)), progress)
                write_records(self.out, shard.name, records)

    def finish(self) -> Catalog:
        """Writes the catalog and the description of all shards, and prints a summary."""
        rows = [row for shard in self.shards for row in read_rows(self.out, shard.name)]
        if not rows:
            raise ConfigError("none of the clips can be read")
        catalog = replace(
            self.catalog.select(np.array([row["clip"] for row in rows])),
            shard=Texts.of([row["shard"] for row in rows], pa.string()),
            index=np.array([row["index"] for row in rows], np.int32),
        )
        catalog.write(self.out)
        description = self._describe()
        write_json(self.out / DESCRIPTION, description._asdict())
        megabytes = sum(row["bytes"] for row in rows) / 1e6
        print(
            f"latents of {len(catalog)} clips ({megabytes:.1f} MB of {self.dtype}) are in "
            f"{self.out}; {len(description.left_out)} damaged clips were left out"
        )
        return catalog

    def _describe(self) -> Description:
        """What the latents are, with the statistics of all shards."""
        found = [read_object(self._statistics(shard)) for shard in self.shards]
        tokens, sums, squares = (
            np.sum([values[name] for values in found], 0) for name in ("tokens", "sums", "squares")
        )
        mean = sums / max(tokens, 1)
        deviation = np.sqrt(np.maximum(squares / max(tokens, 1) - mean**2, 0))
        return Description(
            encoder=self.encoder.digest,
            dtype=self.dtype,
            patch=self.reader.patch,
            channels=len(mean),
            mean=mean.tolist(),
            deviation=deviation.tolist(),
            left_out=[name for values in found for name in values["left_out"]],
        )

    def _cut(self) -> Iterator[Shard]:
        """Yields shards of about the same number of tokens; they do not depend on the hosts."""
        data = self.encoder.cfg.data
        size = SHARD_BATCHES * data.batch_rows * self.reader.cfg.row_tokens
        before = self._picks.tokens.cumsum() - self._picks.tokens
        starts = np.flatnonzero(np.diff(before // size, prepend=-1)).tolist()
        for start, stop in itertools.pairwise([*starts, len(self.catalog)]):
            part = self.catalog.select(np.arange(start, stop))
            columns = (part.ids, part.shard, part.index, part.width, part.height, part.frames)
            recipe = (self.encoder.digest, self.dtype, self.reader.cfg.row_tokens)
            clips = [np.asarray(column).tolist() for column in (*columns, part.fps)]
            digest = hashlib.sha256(repr((recipe, clips)).encode()).hexdigest()[:8]
            yield Shard(f"latents-{start:08d}-{digest}", start, stop)

    def _pack(self, shard: Shard) -> list[list[list[int]]]:
        """The batches of a shard; a batch is rows, and a row is indices of clips."""
        cfg, lengths = self.reader.cfg, self._picks.tokens[shard.start : shard.stop].tolist()
        packed = fit_decreasing(
            lengths,
            [0] * len(lengths),
            row_tokens=cfg.row_tokens,
            text_tokens=cfg.text_tokens,
            max_segments=cfg.max_segments,
        )
        rows = [[shard.start + i for i in row] for row in packed]
        rows += [[] for _ in range(-len(rows) % cfg.batch_rows)]
        return [rows[i : i + cfg.batch_rows] for i in range(0, len(rows), cfg.batch_rows)]

    def _encoded(self, loaded: Iterable[PackedBatch]) -> Iterator[PackedBatch]:
        """Yields batches of latents in host memory; the devices are always one batch ahead."""
        ahead = None
        for batch in loaded:
            ahead, done = batch._replace(tokens=self.encoder(batch)), ahead
            if done:
                yield jax.device_get(done)
        if ahead:
            yield jax.device_get(ahead)

    def _records(
        self, shard: Shard, batches: Iterable[PackedBatch], progress: Progress
    ) -> Iterator[tuple[bytes, dict[str, Any]]]:
        """Yields a shard's records with their rows; after the last one, writes their statistics."""
        tokens, sums, squares = 0, np.zeros(1), np.zeros(1)
        left_out = set(range(shard.start, shard.stop))
        for batch in batches:
            clips = batch.clip_ids[batch.valid].tolist()
            for i, latents in zip(clips, unpack(batch.tokens, batch, (1, 1, 1))):
                values = latents.reshape(-1, latents.shape[-1]).astype(np.float64)
                if self._counted[i]:
                    tokens += len(values)
                    sums, squares = sums + values.sum(0), squares + np.square(values).sum(0)
                left_out.remove(i)
                try:
                    record = encode(latents, self.dtype)
                except ConfigError as error:
                    raise ConfigError(f"clip {self.catalog.ids[i]}: {error}") from error
                yield record, {"clip": i}
            progress.advance(len(clips))
        channels = self.encoder.cfg.autoencoder.channels
        statistics = {
            "tokens": tokens,
            "sums": np.broadcast_to(sums, channels).tolist(),
            "squares": np.broadcast_to(squares, channels).tolist(),
            "left_out": [self.catalog.ids[i] for i in sorted(left_out)],
        }
        path = self._statistics(shard)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, statistics)

    def _statistics(self, shard: Shard) -> Path:
        return self.out / STATISTICS / f"{shard.name}.json"
