"""The latents of every clip of a dataset, made once, for data.latents of a diffusion run.

    python -m tools.encode_latents --autoencoder=runs/autoencoder --data=DATA --out=DATA_LATENTS

--data is what data.catalog names; several, with commas between, are those of a data.mixture. Every
clip is encoded whole, at its own size, by the autoencoder's averaged weights in the number format
that it was trained in. OUT is as videodit/data/sources/latents.py says; damaged clips are named and
left out.

The rows of a batch are shared out over all devices of the process. Run again, it makes only the
shards that are missing. Several processes with a common OUT share out the shards: those that jax
joins (as for videodit.main) by themselves, others with --hosts=N --host=0, 1, ... The last to
finish writes the catalog.
"""

import functools
import hashlib
import itertools
import json
import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from absl import app, flags
from absl import logging as absl_logging
from jax.experimental import multihost_utils

from videodit.config import ConfigError, MeshConfig, check, refuse
from videodit.curation.latents import AS_TRAINED, Encoder, Rows, open_reader, tokenizer_of
from videodit.data.loader import listed_batches
from videodit.data.packing import PackedBatch, unpack
from videodit.data.planning.fitting import fit_decreasing
from videodit.data.planning.picks import Picker
from videodit.data.planning.plan import CACHED, Row, place_rows
from videodit.data.progress import Progress
from videodit.data.reading import Reader
from videodit.data.sources.catalog import Catalog
from videodit.data.sources.latents import DESCRIPTION, DTYPES, Description, encode
from videodit.data.sources.shards import is_finished, read_rows, write_records
from videodit.data.sources.storage import replacing
from videodit.sharding import join_processes, local_mesh

SHARD_BATCHES = 16  # batches that a shard fills, about: the last of them is seldom full
STATISTICS = "statistics"  # folder of a file a shard


class Shard(NamedTuple):
    """Clips start <= i < stop of the catalog."""

    name: str
    start: int
    stop: int


def encode_latents(
    autoencoder: str,
    data: str,
    out: str | os.PathLike,
    *,
    tokenizer: str = "",
    dtype: str = "float32",
    rows: Rows = AS_TRAINED,
    host: int = 0,
    hosts: int = 1,
) -> Catalog | None:
    """Makes this host's shards of `out`; its catalog, if all hosts' shards are there.

    `tokenizer`: as text.workdir; "" takes that of `data`, else the autoencoder's. `dtype`: that
    latents are stored in, one of DTYPES. Raises ConfigError.
    """
    check(bool(str(out)), "out", out, "a folder")
    for name in (*data.split(","), autoencoder):  # whose files have the same names
        same = os.path.realpath(name) == os.path.realpath(out)
        check(not same, "out", str(out), f"another folder than {name!r}")
    check(0 <= host < hosts, "host", host, f"from 0 to hosts - 1, which is {hosts - 1}")
    check(dtype in DTYPES, "dtype", dtype, f"one of {', '.join(DTYPES)}")
    with jax.set_mesh(local_mesh()):
        encoder = Encoder(autoencoder)
        reader = open_reader(encoder.cfg, data, tokenizer or tokenizer_of(data, autoencoder), rows)
        work = Work(Path(out), dtype, encoder, reader)
        work.make(work.shards[host::hosts])
    left = sum(not is_finished(work.out, shard.name) for shard in work.shards)
    if left:
        print(f"{left} of {len(work.shards)} shards are left to the other hosts")
        return None
    return work.finish()


class Work:
    """What is to be made in `out`, of which clips."""

    def __init__(self, out: Path, dtype: str, encoder: Encoder, reader: Reader):
        """Says which clips go into which shard and row. Raises ConfigError."""
        self.out, self.dtype, self.encoder, self.reader = out, dtype, encoder, reader
        self.catalog = reader.source.catalog
        picker = Picker(self.catalog, reader.cfg, 0, reader.patch)
        self._picks = picker.held_out(np.arange(len(self.catalog)))
        self._counted = np.asarray(self.catalog.split) == "train"  # in the statistics
        if not self._counted.any():
            self._counted[:] = True
        self.shards = list(self._cut())

    def make(self, shards: list[Shard]) -> None:
        """Makes those of the shards that are missing."""
        missing = [shard for shard in shards if not is_finished(self.out, shard.name)]
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
        """Writes the catalog and the description of all shards; prints what there is."""
        rows = [row for shard in self.shards for row in read_rows(self.out, shard.name)]
        if not rows:
            raise ConfigError("none of the clips can be read")
        places = {"shard": np.array([row["shard"] for row in rows], object)}
        places["index"] = np.array([row["index"] for row in rows], np.int32)
        catalog = replace(self.catalog.select([row["clip"] for row in rows]), **places)
        catalog.write(self.out)
        found = [json.loads(self._statistics(shard).read_text()) for shard in self.shards]
        tokens, sums, squares = (
            np.sum([values[name] for values in found], 0) for name in ("tokens", "sums", "squares")
        )
        mean = sums / max(tokens, 1)
        deviation = np.sqrt(np.maximum(squares / max(tokens, 1) - mean**2, 0))
        description = Description(
            encoder=self.encoder.digest,
            dtype=self.dtype,
            patch=self.reader.patch,
            channels=len(mean),
            mean=mean.tolist(),
            deviation=deviation.tolist(),
            left_out=[name for values in found for name in values["left_out"]],
        )
        with replacing(self.out / DESCRIPTION) as temporary:
            temporary.write_text(json.dumps(description._asdict()) + "\n")
        megabytes = sum(row["bytes"] for row in rows) / 1e6
        print(
            f"latents of {len(catalog)} clips ({megabytes:.1f} MB of {self.dtype}) are in "
            f"{self.out}; {len(description.left_out)} damaged clips were left out"
        )
        return catalog

    def _cut(self) -> Iterator[Shard]:
        """Shards of about equally many tokens, whatever the hosts."""
        data = self.encoder.cfg.data
        size = SHARD_BATCHES * data.batch_rows * self.reader.cfg.row_tokens
        before = self._picks.tokens.cumsum() - self._picks.tokens
        starts = np.flatnonzero(np.diff(before // size, prepend=-1)).tolist()
        for start, stop in itertools.pairwise([*starts, len(self.catalog)]):
            clips = self.catalog.select(np.arange(start, stop))
            columns = (clips.ids, clips.shard, clips.index, clips.width, clips.height, clips.frames)
            recipe = (self.encoder.digest, self.dtype, self.reader.cfg.row_tokens)
            clips = [np.asarray(column).tolist() for column in (*columns, clips.fps)]
            digest = hashlib.sha256(repr((recipe, clips)).encode()).hexdigest()[:8]
            yield Shard(f"latents-{start:08d}-{digest}", start, stop)

    def _pack(self, shard: Shard) -> list[list[list[int]]]:
        """The batches of a shard: rows of indices of clips."""
        cfg, lengths = self.reader.cfg, self._picks.tokens[shard.start : shard.stop].tolist()
        packed = fit_decreasing(
            lengths,
            [0] * len(lengths),
            row_tokens=cfg.row_tokens,
            text_tokens=cfg.text_tokens,
            max_segments=cfg.max_segments,
        )
        rows = [[shard.start + i for i in row] for row in packed]
        rows += [[]] * (-len(rows) % cfg.batch_rows)
        return [rows[i : i + cfg.batch_rows] for i in range(0, len(rows), cfg.batch_rows)]

    def _encoded(self, loaded: Iterable[PackedBatch]) -> Iterator[PackedBatch]:
        """Batches of latents in host memory; the devices are always one batch ahead."""
        ahead = None
        for batch in loaded:
            ahead, done = batch._replace(tokens=self.encoder(batch)), ahead
            if done:
                yield jax.device_get(done)
        if ahead:
            yield jax.device_get(ahead)

    def _records(
        self, shard: Shard, batches: Iterable[PackedBatch], progress: Progress
    ) -> Iterator[tuple[bytes, dict]]:
        """A shard's records and rows; after the last, writes their statistics."""
        tokens, sums, squares = 0, 0.0, 0.0
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
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(statistics))

    def _statistics(self, shard: Shard) -> Path:
        return self.out / STATISTICS / f"{shard.name}.json"


def main(argv: list[str]) -> None:
    """Runs the command line; a ConfigError is printed without a traceback, exit status 2."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected argument {argv[1]!r}")
    absl_logging.set_verbosity(absl_logging.WARNING)  # libraries
    logging.getLogger("videodit").setLevel(logging.INFO)
    args = flags.FLAGS
    try:
        join_processes(MeshConfig())
        encode_latents(
            args.autoencoder,
            args.data,
            args.out,
            tokenizer=args.tokenizer,
            dtype=args.dtype,
            rows=Rows(args.row_tokens, args.batch_rows, args.workers),
            host=jax.process_index() if args.host is None else args.host,
            hosts=jax.process_count() if args.hosts is None else args.hosts,
        )
        if jax.process_count() > 1:  # or the first to end would take the others down
            multihost_utils.sync_global_devices("encode_latents")
    except ConfigError as error:
        refuse(error)


if __name__ == "__main__":
    flags.DEFINE_string("autoencoder", None, "folder of a trained autoencoder", required=True)
    flags.DEFINE_string("data", None, "what data.catalog names, or several", required=True)
    flags.DEFINE_string("out", None, "folder of the latents", required=True)
    flags.DEFINE_string("tokenizer", "", "folder with the tokenizer.model that counted captions")
    flags.DEFINE_enum("dtype", "float32", list(DTYPES), "of the stored latents; others round them")
    flags.DEFINE_integer("row_tokens", 0, "tokens of a row; 0: as trained, or as the longest clip")
    flags.DEFINE_integer("batch_rows", 0, "rows of this process's batch; 0: as trained")
    flags.DEFINE_integer("workers", -1, "decoding processes; -1: as trained")
    flags.DEFINE_integer("host", None, "which of the machines this is")
    flags.DEFINE_integer("hosts", None, "machines that encode this dataset together")
    app.run(main)
