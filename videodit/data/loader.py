"""Batches of the plan as global jax.Arrays: decode, patchify and pack in threads, one batch ahead.

The state is the step: the batch of step N is a function of the plan and N alone, whatever the
processes, threads or restarts. A process decodes only the rows that its devices hold.
"""

from bisect import bisect_left
from collections.abc import Callable

import grain
import jax
import numpy as np
from grain.experimental import ThreadPrefetchIterDataset
from jax.sharding import NamedSharding

from videodit.config import DataConfig, check
from videodit.data import given, packing, patches
from videodit.data.packing import PackedBatch
from videodit.data.patches import Size
from videodit.data.plan import Placed, Plan, Row
from videodit.data.sources import Source, check_tokenizer
from videodit.data.tokenizer import Tokenizer
from videodit.sharding import axis_size, spec

AXES = PackedBatch(
    tokens=("batch", "length", None),
    positions=("batch", "length", None),
    segment_ids=("batch", "length"),
    given=("batch", "length"),
    noise_slot_ids=("batch", "length"),
    text_tokens=("batch", "length"),
    text_segment_ids=("batch", "length"),
    text_positions=("batch", "length"),
    sample_ids=("batch", None),
    clip_ids=("batch", None),
    grids=("batch", None, None),
    fps=("batch", None),
    task_ids=("batch", None),
    valid=("batch", None),
)
STEPS = 2**40  # of an endless stream: grain wants a length


def train_batches(
    source: Source,
    plan: Plan,
    tokenizer: Tokenizer,
    cfg: DataConfig,
    patch: Size,
    *,
    start_step: int,
) -> grain.DatasetIterator:
    """An endless iterator of the PackedBatch of step `start_step`, start_step + 1, ...

    Its arrays are global, sharded over the current mesh (rows by "batch", L and S by "length"); on
    one device if there is no mesh. `close()` ends its threads. Raises ConfigError for a batch that
    the mesh does not divide, for the wrong tokenizer and, from `next`, for a clip that is broken.
    """
    load = _row_loader(source, plan, tokenizer, cfg, patch)
    return _batches(load, plan.rows, range(start_step, STEPS), cfg)


def validation_batches(
    source: Source, plan: Plan, tokenizer: Tokenizer, cfg: DataConfig, patch: Size
) -> grain.DatasetIterator:
    """An iterator like that of `train_batches` over every validation clip once, then it ends."""
    batches = plan.validation_rows()
    load = _row_loader(source, plan, tokenizer, cfg, patch)
    return _batches(load, batches.__getitem__, range(len(batches)), cfg)


def place(batch: PackedBatch) -> PackedBatch:
    """A batch that every process holds whole as global arrays on the current mesh."""
    mesh = jax.sharding.get_mesh()
    if mesh.empty:
        return jax.device_put(batch)
    return jax.device_put(batch, _shardings(mesh))


def _shardings(mesh: jax.sharding.Mesh) -> PackedBatch:
    return PackedBatch(*(NamedSharding(mesh, spec(*axes)) for axes in AXES))


def _row_loader(
    source: Source, plan: Plan, tokenizer: Tokenizer, cfg: DataConfig, patch: Size
) -> Callable[[Row], PackedBatch]:
    check_tokenizer(source.catalog, tokenizer)
    catalog = source.catalog

    def segment(placed: Placed) -> packing.Segment:
        frames = source.read(placed.clip)
        rng = np.random.default_rng([plan.seed, placed.sample_id])
        task_id, mask = given.draw(placed.task_id, patches.grid(*frames.shape[:3], patch), rng)
        return packing.segment(
            frames,
            patch=patch,
            fps=float(catalog.fps[placed.clip]),
            text_tokens=tokenizer.encode(catalog.captions[placed.clip][placed.caption]),
            given=mask,
            task_id=task_id,
            sample_id=placed.sample_id,
            clip_id=placed.clip,
        )

    def load(row: Row) -> PackedBatch:
        return packing.pack_row(
            [segment(placed) for placed in row],
            row_tokens=cfg.row_tokens,
            text_tokens=cfg.text_tokens,
            max_segments=cfg.max_segments,
            patch=patch,
        )

    return load


def _batches(
    load: Callable[[Row], PackedBatch],
    rows_of: Callable[[int], list[Row]],
    steps: range,
    cfg: DataConfig,
) -> grain.DatasetIterator:
    local, put = _placement(cfg)

    def load_row(i: int) -> PackedBatch:
        step, at = divmod(i, len(local))
        return load(rows_of(step)[local[at]])

    # Rows, not batches, are the unit of work: every thread has some from the first batch on.
    ahead = grain.ReadOptions(cfg.threads, prefetch_buffer_size=max(2 * len(local), cfg.threads))
    dataset = (
        grain.MapDataset.range(steps.start * len(local), steps.stop * len(local))
        .map(load_row)
        .to_iter_dataset(ahead)
        .batch(len(local), batch_fn=packing.stack)
        .map(put)
    )
    return iter(ThreadPrefetchIterDataset(dataset, prefetch_buffer_size=1))


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
