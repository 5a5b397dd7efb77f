"""Batches of the plan as global jax.Arrays, read in threads or processes, one batch ahead.

The state is the step: the batch of step N is a function of the plan and N alone, whatever the
processes, threads or restarts. A process decodes only the rows that its devices hold.
"""

import threading
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import grain
import jax
import numpy as np
from grain.experimental import ThreadPrefetchIterDataset
from jax.sharding import NamedSharding

from videodit.config import DataConfig, check
from videodit.data import packing
from videodit.data.broken import Broken
from videodit.data.packing import PackedBatch
from videodit.data.patches import Size
from videodit.data.planning.plan import Placed, Plan, Row
from videodit.data.reading import Reader
from videodit.data.sources.latents import LatentSource
from videodit.data.sources.source import Source, check_tokenizer
from videodit.data.tokenizer import Tokenizer
from videodit.data.workers import Pool
from videodit.sharding import axis_size, spec

AXES = PackedBatch(
    tokens=("batch", "length", None),
    positions=("batch", "length", None),
    segment_ids=("batch", "length"),
    given=("batch", "length"),
    noise_slot_ids=("batch", "length"),
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
STEPS = 2**40  # of an endless stream: grain wants a length


def train_batches(
    source: Source,
    plan: Plan,
    tokenizer: Tokenizer,
    patch: Size,
    *,
    start_step: int,
    pool: Pool | None = None,
) -> Iterator[PackedBatch]:
    """An endless iterator of the PackedBatch of step `start_step`, start_step + 1, ...

    Its arrays are global, sharded over the current mesh (rows by "batch", L and S by "length"); on
    one device if there is no mesh. `close()` ends its threads and processes; `pool`: running
    workers (`make_pool`) to use, which it leaves running. A clip that is broken
    is replaced by a spare of the plan or left out (`PackedBatch.replaced`). Raises ConfigError for
    a batch that the mesh does not divide, for the wrong tokenizer and, from `next`, for too many
    broken clips.
    """
    rows, put = _placement(plan.cfg)
    work = _Work(plan.rows, range(start_step, STEPS), rows, plan.spare)
    return _batches(make_reader(source, plan, tokenizer, patch), work, put, pool)


def validation_batches(
    source: Source, plan: Plan, tokenizer: Tokenizer, patch: Size, *, pool: Pool | None = None
) -> Iterator[PackedBatch]:
    """An iterator like that of `train_batches` over every validation clip once, then it ends.

    A clip that is broken is left out.
    """
    batches, reader = plan.validation_rows(), make_reader(source, plan, tokenizer, patch)
    return listed_batches(reader, batches.__getitem__, len(batches), pool=pool)


def listed_batches(
    reader: Reader, rows_of: Callable[[int], list[Row]], count: int, *, pool: Pool | None = None
) -> Iterator[PackedBatch]:
    """An iterator like that of `train_batches` over batches 0 .. count - 1, whose rows are given.

    A clip that is broken is left out.
    """
    rows, put = _placement(reader.cfg)
    return _batches(reader, _Work(rows_of, range(count), rows, lambda *_: None), put, pool)


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
) -> Iterator[PackedBatch]:
    """What `train_batches` puts on the devices of a process that holds these rows: numpy arrays.

    It ends before `stop_step`. `pool`: running workers to use, which it leaves running.
    """
    reader = make_reader(source, plan, tokenizer, patch)
    work = _Work(plan.rows, range(start_step, stop_step), rows, plan.spare)
    return _batches(reader, work, lambda batch: batch, pool)


def make_pool(source: Source, plan: Plan, tokenizer: Tokenizer, patch: Size) -> Pool | None:
    """The decoding processes of a run, for all its iterators; None if the config wants none."""
    return Pool(make_reader(source, plan, tokenizer, patch)) if plan.cfg.workers else None


def make_reader(source: Source, plan: Plan, tokenizer: Tokenizer, patch: Size) -> Reader:
    """What fills the plan's rows. Raises ConfigError for the wrong tokenizer and for bad texts."""
    check_tokenizer(source.catalog, tokenizer)
    source.catalog.open_texts()  # copied once a machine, which may take a minute for millions
    channels = source.channels if isinstance(source, LatentSource) else 0
    return Reader(source, tokenizer, plan.cfg, patch, plan.seed, plan.chunk, channels)


def place(batch: PackedBatch) -> PackedBatch:
    """A batch that every process holds whole as global arrays on the current mesh.

    Empty rows follow until the mesh divides them; they are made a device's share at a time.
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
        dtype=batch.tokens.dtype,
    )
    rows = len(batch.valid)
    rows += -rows % axis_size("batch")

    def leaf(x: np.ndarray, nothing: np.ndarray, sharding: NamedSharding) -> jax.Array:
        def share(index):
            asked = len(range(rows)[index[0]])
            there, fill = x[index], nothing[:, *index[1:]]
            return np.concatenate([there, np.repeat(fill, asked - len(there), axis=0)])

        return jax.make_array_from_callback((rows, *x.shape[1:]), sharding, share)

    return PackedBatch(*map(leaf, batch, empty, _shardings(mesh)))


def abstract_batch(cfg: DataConfig, values: int, dtype: type = np.uint8) -> PackedBatch:
    """Shapes, dtypes and shardings of a global batch of tokens of `values` numbers."""
    row = packing.empty_batch(
        1,
        values,
        row_tokens=cfg.row_tokens,
        text_tokens=cfg.text_tokens,
        max_segments=cfg.max_segments,
        dtype=dtype,
    )

    def leaf(x, sharding):
        return jax.ShapeDtypeStruct((cfg.batch_rows, *x.shape[1:]), x.dtype, sharding=sharding)

    return PackedBatch(*map(leaf, row, _shardings(jax.sharding.get_mesh())))


def _shardings(mesh: jax.sharding.Mesh) -> PackedBatch:
    return PackedBatch(*(NamedSharding(mesh, spec(*axes)) for axes in AXES))


class _Work(NamedTuple):
    """What is to be read: some rows of the global batch of each step."""

    rows_of: Callable[[int], list[Row]]  # a step's
    steps: range
    rows: Sequence[int]
    spare: Callable[[Placed, int, int, int], Placed | None]  # of (placed, step, row, slot)


def _batches(
    reader: Reader,
    work: _Work,
    put: Callable[[PackedBatch], PackedBatch],
    pool: Pool | None = None,
) -> Iterator[PackedBatch]:
    cfg, count = reader.cfg, len(work.rows)
    own_pool = Pool(reader) if cfg.workers and pool is None else None
    pool = pool or own_pool
    broken = Broken(reader.source.catalog.ids, cfg.max_broken)
    fill = pool.fill if pool else reader.fill
    batches = _Unfinished(partial(reader.empty_batch, count))

    def load_row(i: int) -> int:
        step, at = divmod(i, count)
        row = work.rows_of(step)[work.rows[at]]
        broken.count(len(row))

        def replace(slot: int, placed: Placed, reason: str) -> Placed | None:
            broken.add(placed.clip, reason)
            if placed != row[slot]:  # it was the spare
                return None
            return work.spare(placed, step, work.rows[at], slot)

        fill(row, packing.row_of(batches.get(step), at), replace)
        return step

    # Rows, not batches, are the unit of work: every thread has some from the first batch on.
    # More threads than processes: some copy rows while the processes fill others.
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


def _until_closed(iterator: grain.DatasetIterator, pool: Pool | None) -> Iterator[PackedBatch]:
    try:
        yield from iterator
    finally:
        iterator.close()
        if pool:
            pool.close()


class _Unfinished:
    """The batches of steps whose rows are being filled.

    Each is new memory: jax on a CPU may use the memory of a numpy array that it was given.
    """

    def __init__(self, make: Callable[[], PackedBatch]):
        self._make, self._batches, self._lock = make, {}, threading.Lock()

    def get(self, step: int) -> PackedBatch:
        with self._lock:
            if step not in self._batches:
                self._batches[step] = self._make()
            return self._batches[step]

    def pop(self, step: int) -> PackedBatch:
        with self._lock:
            return self._batches.pop(step)


def _placement(cfg: DataConfig) -> tuple[list[int], Callable[[PackedBatch], PackedBatch]]:
    """The rows of a global batch that this process's devices hold, and how to put them there."""
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
    held = shardings.valid.addressable_devices_indices_map((cfg.batch_rows, cfg.max_segments))
    local = sorted({row for rows, _ in held.values() for row in range(cfg.batch_rows)[rows]})

    def put(batch: PackedBatch) -> PackedBatch:
        return jax.tree.map(put_one, batch, shardings)

    def put_one(x: np.ndarray, sharding: NamedSharding) -> jax.Array:
        shape, shards = (cfg.batch_rows, *x.shape[1:]), []
        for device, index in sharding.addressable_devices_indices_map(shape).items():
            rows = range(cfg.batch_rows)[index[0]]
            first = bisect_left(local, rows.start)
            shards.append(jax.device_put(x[first : first + len(rows), *index[1:]], device))
        return jax.make_array_from_single_device_arrays(shape, sharding, shards)

    return local, put
