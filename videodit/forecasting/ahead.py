"""Compiles the train step ahead of time for absent devices, and counts the bytes it needs."""

import math
import re
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from videodit.config import Config
from videodit.data.loader import abstract_batch
from videodit.data.packing import PackedBatch
from videodit.data.tokenizer import Tokenizer
from videodit.models.autoencoder import patch_values
from videodit.optim import make_optimizer, make_schedule
from videodit.sharding import abstract
from videodit.step import make_init, make_train_step
from videodit.tasks.registry import make_task
from videodit.tasks.task import Task
from videodit.train import check_rows

USED = re.compile(r"[Uu]sed ([\d.]+)([KMGT]) of")  # XLA says so when a program does not fit


class Memory(NamedTuple):
    """Bytes that the step needs on one chip."""

    parameters: int
    optimizer: int
    ema: int
    frozen: int
    batch: int
    temporaries: int  # activations, gradients and work space of the step

    @property
    def total(self) -> int:
        return sum(self)


def lower_step(
    cfg: Config, mesh: Mesh, tokenizer: Tokenizer
) -> tuple[jax.stages.Lowered, list[Any]]:
    """The train step of `cfg` lowered for `mesh`, and its abstract (state, frozen, batch)."""
    with jax.set_mesh(mesh):
        check_rows(cfg)
        task = make_task(cfg, tokenizer)
        schedule = make_schedule(cfg.optim, cfg.steps)
        optimizer = make_optimizer(cfg.optim, schedule, task.groups)
        *arguments, key = abstract_arguments(cfg, task, optimizer)
        step = make_train_step(task, optimizer, schedule, cfg.optim)
        return step.lower(*arguments, key), arguments


def abstract_arguments(
    cfg: Config, task: Task, optimizer: optax.GradientTransformation
) -> tuple[Any, Any, PackedBatch, Any]:
    """Abstract state, frozen arrays, batch and key of a train step on the current mesh."""
    key = jax.eval_shape(lambda: jax.random.key(cfg.seed))
    frozen = task.abstract_frozen()
    return (
        abstract(make_init(task, optimizer, cfg.optim.power_averages), key, frozen),
        frozen,
        _abstract_batch(cfg),
        key,
    )


def compile_step(
    cfg: Config, lowered: jax.stages.Lowered, arguments: list[Any], options: dict | None = None
) -> tuple[jax.stages.Compiled | None, Memory]:
    """The compiled step and its Memory; the step is None if XLA refuses it because it does not fit.

    lowered, arguments: as `lower_step` gives them for `cfg`; options: XLA's flags by name.
    """
    state, frozen, batch = arguments
    # Shardings would say what the host holds, but not those of a GPU that is not there.
    waits = cfg.optim.memory == "host"
    memory = Memory(
        parameters=shard_bytes(state["params"]),
        optimizer=0 if waits else shard_bytes(state["opt"]),
        ema=shard_bytes(state["ema"]),
        frozen=shard_bytes(frozen),
        batch=shard_bytes(batch),
        temporaries=0,
    )
    try:
        compiled = lowered.compile(compiler_options=options)
    except jax.errors.JaxRuntimeError as error:
        used = USED.search(str(error))
        if "RESOURCE_EXHAUSTED" not in str(error) or not used:
            raise
        needed = float(used[1]) * 2 ** (10 * " KMGT".index(used[2]))
        return None, memory._replace(temporaries=max(round(needed) - memory.total, 0))
    analysis = compiled.memory_analysis()
    return compiled, memory._replace(temporaries=analysis.temp_size_in_bytes if analysis else 0)


def shard_bytes(tree: Any) -> int:
    """Bytes that one device holds of abstract arrays with shardings."""
    return sum(
        math.prod(x.sharding.shard_shape(x.shape)) * jnp.dtype(x.dtype).itemsize
        for x in jax.tree.leaves(tree)
    )


def _abstract_batch(cfg: Config) -> PackedBatch:
    if cfg.data.latents:
        return abstract_batch(cfg.data, cfg.autoencoder.channels, np.float32)
    return abstract_batch(cfg.data, patch_values(cfg.autoencoder.patch))
