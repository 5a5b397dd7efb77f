"""Meshes, remat policies and batch sizes ranked by predicted tokens/s of a chip.

Closed forms scale one compiled step, the config's own, to thousands of other configs. The best few
of those that should fit are compiled.
"""

import functools
import itertools
import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from videodit.config import Changes, Config, ConfigError, MeshConfig, changed
from videodit.data.packing import PackedBatch
from videodit.data.tokenizer import Tokenizer
from videodit.flops import RECOMPUTED
from videodit.forecasting.ahead import abstract_arguments
from videodit.forecasting.forecast import Forecast
from videodit.forecasting.remedies import as_flags
from videodit.forecasting.roofline import exchange_seconds
from videodit.forecasting.work import Collective
from videodit.nn.block import REMAT
from videodit.optim import make_optimizer, make_schedule
from videodit.parameters import Params
from videodit.sharding import make_mesh
from videodit.tasks.registry import make_task
from videodit.tasks.task import Arrays

ROWS = (0.5, 1, 2)  # times the config's batch rows
MARGIN = 1.0  # share of the chip's memory that an estimate may fill


class Estimate(NamedTuple):
    """A config by closed forms."""

    changes: Changes
    bytes: float  # of a chip
    speed: float  # vision tokens/s of a chip


def search(
    base: Forecast,
    tokenizer: Tokenizer,
    compile_config: Callable[[Config], Forecast],
    *,
    most: int = 4,
    tell: Callable[[str], None] = print,
) -> list[tuple[Changes, Forecast]]:
    """The `most` best configs by closed forms, compiled, the fastest of those that fit first.

    base: the compiled step of the config itself. tell: gets lines of progress. Raises ConfigError
    if the speed of base's chip is not known.
    """
    if not base.times:
        raise ConfigError(
            f"--search: the step of the config itself must compile, and {base.topology.name} be "
            "an accelerator"
        )
    kept = {name: kept_bytes(base.cfg, tokenizer, name) for name in REMAT}
    estimates = [estimate(base, changes, kept) for changes in variants(base)]
    likely = [x for x in estimates if x.bytes <= MARGIN * base.chip.memory]
    likely.sort(key=lambda x: -x.speed)
    tell(f"{len(estimates)} configs, of which {len(likely)} should fit")
    found: list[tuple[Changes, Forecast]] = []
    for x in likely:
        if len(found) == most:
            break
        tell(f"compiling {as_flags(x.changes)}: {x.speed:,.0f} tokens/s a chip by closed forms")
        try:
            found.append((x.changes, compile_config(changed(base.cfg, x.changes))))
        except ConfigError as error:
            tell(f"  {error}")
    return sorted((x for x in found if x[1].fits), key=lambda x: -x[1].speed)


def variants(base: Forecast) -> Iterator[Changes]:
    """All meshes of the same chips with powers of two, with all remat policies and batch sizes."""
    cfg, shape = base.cfg, base.mesh.shape
    split = base.mesh.size // (shape["ring"] * shape["tensor"])
    powers = [2**i for i in range(split.bit_length()) if split % 2**i == 0]
    for fsdp, context in itertools.product(powers, powers):
        data, rest = divmod(split, fsdp * context)
        if rest or not data:
            continue
        for remat, times in itertools.product(REMAT, ROWS):
            rows = int(cfg.data.batch_rows * times)
            if rows % (data * fsdp * cfg.optim.accumulate) == 0:
                yield {
                    "mesh.data": data,
                    "mesh.fsdp": fsdp,
                    "mesh.context": context,
                    "compute.remat": remat,
                    "data.batch_rows": rows,
                } | _groups(cfg, rows)


def _groups(cfg: Config, rows: int) -> Changes:
    """The change that makes a group of rows consist of whole batches of so many rows; {} if none
    is needed.
    """
    if cfg.data.rows_per_group % rows == 0:
        return {}
    return {"data.rows_per_group": math.lcm(cfg.data.rows_per_group, rows)}


def estimate(base: Forecast, changes: Changes, kept: dict[str, float]) -> Estimate:
    """Memory and speed of the base with `changes`.

    kept: bytes that are kept of a row for the backward pass, by remat policy.
    """
    times, old_shape, remat = base.times, dict(base.mesh.shape), changes["compute.remat"]
    assert times is not None  # `search` refuses such a base
    new = {axis: changes.get(f"mesh.{axis}") or n for axis, n in old_shape.items()}
    rows = lambda shape, total: total / (shape["data"] * shape["fsdp"] * base.cfg.optim.accumulate)
    parts = lambda shape: shape["ring"] * shape["context"] * shape["tensor"]
    old_rows = rows(old_shape, base.cfg.data.batch_rows) / parts(old_shape)
    new_rows = rows(new, changes["data.batch_rows"]) / parts(new)

    memory, shared = base.memory, new["fsdp"] / old_shape["fsdp"]
    state = (memory.parameters + memory.optimizer + memory.ema) / shared
    gradients = memory.parameters
    work = memory.temporaries - gradients - old_rows * kept[base.cfg.compute.remat]
    work = max(work, 0.0) * new_rows / old_rows
    total = state + gradients / shared + new_rows * kept[remat] + work + memory.frozen

    again = lambda remat: 3 + np.mean(RECOMPUTED[remat])  # passes, forward and backward
    # The update reads and writes the state once a step; what is kept is written and read, too.
    twice = 2 / (base.chip.bandwidth * base.chip.streaming)
    micro_batches = base.cfg.optim.accumulate
    old_kept = micro_batches * old_rows * kept[base.cfg.compute.remat]
    kernels = max(times.kernels - twice * (state * shared + old_kept), 0.0)
    kernels *= new_rows / old_rows * again(remat) / again(base.cfg.compute.remat)
    kernels += twice * (state + micro_batches * new_rows * kept[remat])
    mesh = _mesh(base, new)
    beside, waited = (
        sum(exchange_seconds(x, base.chip, mesh) for x in found)
        for found in exchanges(base, new, new_rows)
    )
    seconds = max(kernels, beside) + waited + times.host / shared
    tokens = changes["data.batch_rows"] * base.cfg.data.row_tokens
    return Estimate(changes, total, tokens / seconds / base.mesh.size)


def exchanges(base: Forecast, shape: dict[str, int], rows: float) -> tuple[list, list]:
    """Collectives on a mesh of this shape: those beside the kernels, and those the step waits for.

    Each micro-batch gathers 16-bit parameters for both passes and scatters their gradients; over
    the data axis gradients are summed once. The heads of a row move to their devices and back in
    both passes. Exchanges along ring and tensor are the same in all variants and left out.
    rows: rows that a device holds, as parts of whole ones.
    """
    accumulate, whole = base.cfg.optim.accumulate, 2 * base.parameters / shape["tensor"]
    beside = [
        Collective("all-gather", ("fsdp",), shape["fsdp"], whole, 2 * accumulate),
        Collective("reduce-scatter", ("fsdp",), shape["fsdp"], whole, accumulate),
        Collective("all-reduce", ("data",), shape["data"], 2 * whole / shape["fsdp"], 1),
    ]
    stack, copies = base.stack.shape, base.stack.times
    heads = 2 * rows * base.cfg.data.row_tokens * stack.heads * stack.head_size
    moves = 8 * stack.depth * copies * accumulate  # q, k, v and the output, and their gradients
    return beside, [Collective("all-to-all", ("context",), shape["context"], heads, moves)]


def kept_bytes(cfg: Config, tokenizer: Tokenizer, remat: str) -> float:
    """Bytes that the forward pass keeps of one row for the backward pass, traced, not compiled."""
    cfg = changed(
        cfg,
        {
            "compute.remat": remat,
            "compute.attention": "blocked",
            "data.batch_rows": 1,
            "data.rows_per_group": 1,
            "optim.accumulate": 1,
        },
    )
    with jax.set_mesh(make_mesh(MeshConfig(data=1), jax.devices()[:1])):
        task = make_task(cfg, tokenizer)
        schedule = make_schedule(cfg.optim, cfg.steps)
        optimizer = make_optimizer(cfg.optim, schedule, task.groups)
        state, frozen, batch, key = abstract_arguments(cfg, task, optimizer)

        def kept(params: Params, frozen: Arrays, batch: PackedBatch, key: jax.Array) -> list:
            loss = lambda params: task.loss(
                params, frozen, batch, task.weights(batch), key, jnp.int32(cfg.steps)
            )
            backward = jax.vjp(loss, params, has_aux=True)[1]
            given = {id(x) for x in jax.tree.leaves((params, frozen, batch))}
            return [x for x in jax.tree.leaves(backward) if id(x) not in given]

        arrays = jax.eval_shape(kept, state["params"], frozen, batch, key)
    return float(sum(math.prod(x.shape) * x.dtype.itemsize for x in arrays))


def _mesh(base: Forecast, shape: dict[str, int]) -> jax.sharding.Mesh:
    sizes = {axis: shape[axis] for axis in base.mesh.axis_names}
    return _cached_mesh(MeshConfig(**sizes, slices=base.cfg.mesh.slices), *base.topology.devices)


@functools.cache
def _cached_mesh(cfg: MeshConfig, *devices: jax.Device) -> jax.sharding.Mesh:
    return make_mesh(cfg, devices)
