"""Batches of the plan as global jax.Arrays, read in threads or processes, one batch ahead.

The loader's only state is the step: the batch of step N depends on the plan and N alone, not on
the number of processes, threads or restarts. A process decodes only the rows that its devices hold.
"""

import dataclasses
import itertools
import threading
from bisect import bisect_left
from collections.abc import Callable, Generator, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import grain
import jax
import numpy as np
from grain.experimental import ThreadPrefetchIterDataset
from jax.sharding import NamedSharding, PartitionSpec

from videodit.config import ConfigError, DataConfig, check
from videodit.data import packing
from videodit.data.broken import JUDGED_FROM, Broken, name_clip, report
from videodit.data.packing import HostBatch, PackedBatch
from videodit.data.patches import Size
from videodit.data.planning.plan import Placed, Plan, Row
from videodit.data.reading import Reader
from videodit.data.sources.latents import LatentSource
from videodit.data.sources.source import Source, check_tokenizer
from videodit.data.tokenizer import Tokenizer
from videodit.data.workers import Pool
from videodit.sharding import axis_size, check_together, spec

# Logical axes of each array (videodit/sharding.py).
AXES: PackedBatch[tuple[str | None, ...]] = PackedBatch(
    tokens=("batch", "length", None),
    positions=("batch", "length", None),
    segment_ids=("batch", "length"),
    given=("batch", "length"),
    noise_slot_ids=("batch", "length"),
    slot_segments=("batch", None),
    slot_given=("batch", None),
    text_ids=("batch", "length"),
    text_segment_ids=("batch", "length"),
    text_positions=("batch", "length"),
    sample_ids=("batch", None),
    clip_ids=("batch", None),
    grids=("batch", None, None),
    fps=("batch", None),
    mode_ids=("batch", None),
    valid=("batch", None),
    replaced=("batch", None),
)
STEPS = 2**40  # steps of an endless stream, because grain wants a length
SEARCHED = 256  # steps in whose rows a readable clip is looked for before the first

DeviceBatch = PackedBatch[jax.Array]


def train_batches(
    source: Source,
    plan: Plan,
    tokenizer: Tokenizer,
    patch: Size,
    *,
    start_step: int,
    pool: Pool | None = None,
) -> Generator[DeviceBatch, None, None]:
    """An endless iterator of the batches of step `start_step`, start_step + 1, ...

    Arrays are global and sharded over the current mesh (rows by "batch", L and S by "length"), or
    on one device if there is no mesh. `close()` ends the iterator's threads and processes. `pool`
    holds running workers (`make_pool`), which stay running. A broken clip is replaced by a spare of
    the plan or left out (`PackedBatch.replaced`). Raises ConfigError for a batch that the mesh does
    not divide, for the wrong tokenizer and, from `next`, for too many broken clips.
    """
    rows, put = _placement(plan.cfg)
    work = _Work(plan.rows, range(start_step, STEPS), rows, plan.spare, _sources(plan))
    return _batches(make_reader(source, plan, tokenizer, patch), work, put, pool)


def validation_batches(
    source: Source, plan: Plan, tokenizer: Tokenizer, patch: Size, *, pool: Pool | None = None
) -> Generator[DeviceBatch, None, None]:
    """An iterator as of `train_batches` that holds every validation clip once, and then ends.

    Broken clips are left out.
    """
    batches, cfg = plan.validation_rows(), plan.cfg.evaluation
    reader = dataclasses.replace(make_reader(source, plan, tokenizer, patch), cfg=cfg)
    pool = None if plan.cfg.evaluation_rows else pool  # its processes fill rows of training
    return listed_batches(reader, batches.__getitem__, len(batches), pool=pool)


def listed_batches(
    reader: Reader, rows_of: Callable[[int], list[Row]], count: int, *, pool: Pool | None = None
) -> Generator[DeviceBatch, None, None]:
    """An iterator as of `train_batches` over batches 0 .. count - 1 with the rows `rows_of(batch)`.

    Broken clips are left out.
    """
    rows, put = _placement(reader.cfg)
    return _batches(reader, _Work(rows_of, range(count), rows, lambda *_: None, {}), put, pool)


def host_batches(
    source: Source,
    plan: Plan,
    tokenizer: Tokenizer,
    patch: Size,
    *,
    rows: Sequence[int],
    start_step: int,
    stop_step: int = STEPS,
    pool: Pool | None = None,
) -> Generator[HostBatch, None, None]:
    """The batches of `train_batches` as numpy arrays, with these rows of the global batch only.

    The iterator ends before `stop_step`. `pool` holds running workers, which stay running.
    """
    reader = make_reader(source, plan, tokenizer, patch)
    work = _Work(plan.rows, range(start_step, stop_step), rows, plan.spare, _sources(plan))
    return _batches(reader, work, lambda batch: batch, pool)


def check_readable(
    source: Source, plan: Plan, tokenizer: Tokenizer, patch: Size, *, pool: Pool | None = None
) -> None:
    """Reads clips of the plan until one can be read; every process of a run does so.

    Raises ConfigError with the reasons, in all processes, if one of them can read none of the first
    JUDGED_FROM clips.
    """
    reader = make_reader(source, plan, tokenizer, patch)
    fill, reasons = pool.fill if pool else reader.fill, {}

    def note(slot: int, placed: Placed, reason: str) -> None:
        reasons[placed.clip] = name_clip(source.catalog.ids, placed.clip, reason)

    def check_some() -> None:
        for placed in itertools.islice(_distinct_clips(plan), JUDGED_FROM):
            out = packing.row_of(reader.empty_batch(1), 0)
            fill((placed,), out, note)
            if out.valid.any():
                return
        head = f"data.catalog: none of the {len(reasons)} clips that were tried can be read"
        raise ConfigError(report(head, list(reasons.values())))

    check_together(check_some)


def _distinct_clips(plan: Plan) -> Iterator[Placed]:
    """The clips of the first SEARCHED steps in the order of training, each once."""
    seen: set[int] = set()
    for step in range(SEARCHED):
        for placed in itertools.chain.from_iterable(plan.rows(step)):
            if placed.clip not in seen:
                seen.add(placed.clip)
                yield placed


def _sources(plan: Plan) -> dict[str, range]:
    """The rows of the catalog that belong to each source of a mixture, by its name."""
    return {
        name: range(part.start, part.stop) for (name, _), part in zip(plan.cfg.mixture, plan.parts)
    }


def make_pool(source: Source, plan: Plan, tokenizer: Tokenizer, patch: Size) -> Pool | None:
    """The decoding processes that all iterators of a run share; None if the config wants none."""
    return Pool(make_reader(source, plan, tokenizer, patch)) if plan.cfg.workers else None


def make_reader(source: Source, plan: Plan, tokenizer: Tokenizer, patch: Size) -> Reader:
    """Makes the reader that fills the plan's rows.

    Raises ConfigError for the wrong tokenizer and for texts that cannot be read.
    """
    check_tokenizer(source.catalog, tokenizer)
    source.catalog.open_texts()  # the first time on a machine, a minute for millions of clips
    channels = source.channels if isinstance(source, LatentSource) else 0
    return Reader(source, tokenizer, plan.cfg, patch, plan.seed, plan.chunk, channels)


def place(batch: HostBatch) -> DeviceBatch:
    """Global arrays on the current mesh, from a batch that every process holds whole.

    Empty rows are added until the mesh divides the batch; a device's share is made at a time.
    """
    mesh = jax.sharding.get_mesh()
    if mesh.empty:
        return jax.device_put(batch)
    empty = packing.empty_batch(
        1,
        batch.tokens.shape[2],
        row_tokens=batch.tokens.shape[1],
        text_tokens=batch.text_ids.shape[1],
        max_segments=batch.valid.shape[1],
        noise_slots=batch.slot_segments.shape[1],
        dtype=batch.tokens.dtype,
    )
    rows = len(batch.valid)
    rows += -rows % axis_size("batch")

    def leaf(x: np.ndarray, nothing: np.ndarray, sharding: NamedSharding) -> jax.Array:
        def share(index: Any) -> np.ndarray:
            asked = len(range(rows)[index[0]])
            there, fill = x[index], nothing[:, *index[1:]]
            return np.concatenate([there, np.repeat(fill, asked - len(there), axis=0)])

        return jax.make_array_from_callback((rows, *x.shape[1:]), sharding, share)

    return PackedBatch(*map(leaf, batch, empty, _shardings(mesh)))


def abstract_batch(
    cfg: DataConfig, values: int, dtype: Any = np.uint8
) -> PackedBatch[jax.ShapeDtypeStruct]:
    """Shapes, dtypes and shardings of a global batch; a token is `values` numbers of `dtype`."""
    row = packing.empty_batch(
        1,
        values,
        row_tokens=cfg.row_tokens,
        text_tokens=cfg.text_tokens,
        max_segments=cfg.max_segments,
        dtype=dtype,
    )

    def leaf(x: np.ndarray, sharding: NamedSharding) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((cfg.batch_rows, *x.shape[1:]), x.dtype, sharding=sharding)

    return PackedBatch(*map(leaf, row, _shardings(jax.sharding.get_mesh())))


def _shardings(mesh: jax.sharding.Mesh) -> PackedBatch[NamedSharding]:
    return PackedBatch(*(NamedSharding(mesh, spec(*axes) or PartitionSpec()) for axes in AXES))


class _Work(NamedTuple):
    """What is to be read: some rows of the global batch of each step."""

    rows_of: Callable[[int], list[Row]]  # step -> rows of the global batch
    steps: range
    rows: Sequence[int]  # those to read
    spare: Callable[[Placed, int, int, int], Placed | None]  # (placed, step, row, slot) -> spare
    sources: dict[str, range]  # of a mixture: the rows of the catalog


def _batches(
    reader: Reader,
    work: _Work,
    put: Callable[[HostBatch], PackedBatch],
    pool: Pool | None = None,
) -> Generator[PackedBatch, None, None]:
    cfg, count = reader.cfg, len(work.rows)
    own_pool = Pool(reader) if cfg.workers and pool is None else None
    pool = pool or own_pool
    broken = Broken(reader.source.catalog.ids, cfg.max_broken, work.sources)
    fill = pool.fill if pool else reader.fill
    batches = _Unfinished(partial(reader.empty_batch, count))

    def load_row(i: int) -> int:
        step, at = divmod(i, count)
        row = work.rows_of(step)[work.rows[at]]
        broken.count(len(row))

        def replace(slot: int, placed: Placed, reason: str) -> Placed | None:
            broken.add(placed.clip, reason)
            if placed != row[slot]:  # the broken clip is a spare itself
                return None
            return work.spare(placed, step, work.rows[at], slot)

        out = packing.row_of(batches.get(step), at)
        fill(row, out, replace)
        for placed, found in zip(row, out.valid.tolist()):
            broken.judge(placed.clip, found)
        return step

    # A unit of work is a row, so that every thread has work from the first batch on. There are more
    # threads than processes: some copy rows while the processes fill others.
    threads = cfg.workers + cfg.workers // 4 + 1 if cfg.workers else cfg.threads
    ahead = grain.ReadOptions(threads, prefetch_buffer_size=max(2 * count, threads))
    dataset = (
        grain.MapDataset.range(work.steps.start * count, work.steps.stop * count)
        .map(load_row)
        .to_iter_dataset(ahead)
        .batch(count, batch_fn=lambda steps: batches.pop(steps[0]))
        .map(put)
    )
    iterator = iter(ThreadPrefetchIterDataset(dataset, prefetch_buffer_size=1))
    return _until_closed(iterator, own_pool)


def _until_closed(
    iterator: grain.DatasetIterator, pool: Pool | None
) -> Generator[PackedBatch, None, None]:
    try:
        yield from iterator
    finally:
        iterator.close()
        if pool:
            pool.close()


class _Unfinished:
    """The batches of steps whose rows are being filled.

    Each batch is new memory, because jax on a CPU may keep using a numpy array that it was given.
    """

    def __init__(self, make: Callable[[], HostBatch]) -> None:
        self._make, self._lock = make, threading.Lock()
        self._batches: dict[int, HostBatch] = {}

    def get(self, step: int) -> HostBatch:
        """The batch of a step, made when it is first asked for."""
        with self._lock:
            if step not in self._batches:
                self._batches[step] = self._make()
            return self._batches[step]

    def pop(self, step: int) -> HostBatch:
        """The batch of a step, which is then forgotten."""
        with self._lock:
            return self._batches.pop(step)


def _placement(cfg: DataConfig) -> tuple[list[int], Callable[[HostBatch], DeviceBatch]]:
    """The rows of a batch that this process's devices hold, and a function that puts them there.

    Raises ConfigError if the mesh does not divide the batch.
    """
    mesh = jax.sharding.get_mesh()
    if mesh.empty:
        return list(range(cfg.batch_rows)), jax.device_put
    for name, axis in (
        ("batch_rows", "batch"),
        ("row_tokens", "length"),
        ("text_tokens", "length"),
    ):
        value, ways = getattr(cfg, name), axis_size(axis)
        check(value % ways == 0, f"data.{name}", value, f"a multiple of {ways}, as the mesh has it")
    shardings = _shardings(mesh)
    held = _indices(shardings.valid, (cfg.batch_rows, cfg.max_segments))
    local = sorted({row for _, index in held for row in range(cfg.batch_rows)[index[0]]})

    def put(batch: HostBatch) -> DeviceBatch:
        return jax.tree.map(put_one, batch, shardings)

    def put_one(x: np.ndarray, sharding: NamedSharding) -> jax.Array:
        shape, shards = (cfg.batch_rows, *x.shape[1:]), []
        for device, index in _indices(sharding, shape):
            rows = range(cfg.batch_rows)[index[0]]
            first = bisect_left(local, rows.start)
            shards.append(jax.device_put(x[first : first + len(rows), *index[1:]], device))
        return jax.make_array_from_single_device_arrays(shape, sharding, shards)

    return local, put


def _indices(sharding: NamedSharding, shape: tuple[int, ...]) -> list[tuple[jax.Device, Any]]:
    """(device, index of its share) for each device of this process."""
    return list(sharding.addressable_devices_indices_map(shape).items())
