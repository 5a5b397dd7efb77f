"""Pure functions that the loop compiles: a state, a training step, an evaluation step.

A state is a plain dict of arrays: step, params, opt, and ema, the exponential moving average of
those groups of parameters that have one; with optim.power_averages also powers (averages.py).
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from clu.metrics import Average
from jax.sharding import PartitionSpec

from videodit.averages import power_averages
from videodit.compiler_flags import compiler_options
from videodit.config import OptimConfig
from videodit.data.packing import PackedBatch
from videodit.parameters import Params, averaged, choose
from videodit.sharding import spec
from videodit.tasks.task import Arrays, Task

State = dict[str, Any]
Averages = dict[str, tuple[Average, Average]]  # of a measure and of its square, by name


def make_init(
    task: Task, optimizer: optax.GradientTransformation, lengths: Sequence[float] = ()
) -> Callable[[jax.Array, Arrays], State]:
    """`init(key, frozen) -> state`; under jit every array is created with its sharding.

    `lengths`: optim.power_averages.
    """

    def init(key: jax.Array, frozen: Arrays) -> State:
        params = task.init(key, frozen)
        copy = lambda: jax.tree.map(jnp.copy, averaged(params, task.groups))
        powers = {"powers": {str(i): copy() for i in range(len(lengths))}} if lengths else {}
        return {
            "step": jnp.zeros((), jnp.int32),
            "params": params,
            "ema": copy(),
            "opt": optimizer.init(params),
            **powers,
        }

    return init


def make_train_step(
    task: Task,
    optimizer: optax.GradientTransformation,
    schedule: optax.Schedule,
    cfg: OptimConfig,
) -> Any:
    """`train_step(state, frozen, batch, key) -> (state, metrics)`, compiled, the state donated.

    `key` is the run's; level, noise and dropout follow from it and state["step"]. If the loss or
    the gradients are not finite, only the step advances, and the metric `skipped` is 1: parameters,
    optimizer state, EMA and power averages stay. optimizer: as `make_optimizer` returns it.
    """
    update = optax.with_extra_args_support(optimizer).update

    def train_step(
        state: State, frozen: Arrays, batch: PackedBatch, key: jax.Array
    ) -> tuple[State, dict[str, jax.Array]]:
        key = jax.random.fold_in(key, state["step"])
        weights = task.weights(batch)
        (loss, parts), grads = _gradients(task, cfg.accumulate)(
            state["params"], frozen, batch, weights, key, state["step"]
        )
        norm = optax.tree.norm(grads)
        sound = jnp.isfinite(loss) & jnp.isfinite(norm)
        updates, opt = update(grads, state["opt"], state["params"], sound=sound)
        params = optax.apply_updates(state["params"], updates)
        warm = (1 + state["step"]) / (
            10 + state["step"]
        )  # early on, forget the initial weights fast
        decay = jnp.minimum(cfg.ema_decay, warm)
        new = averaged(params, task.groups)
        ema = optax.incremental_update(new, state["ema"], 1 - decay)
        real = batch.segment_ids > 0
        metrics = {
            "loss": loss,
            **parts,
            "grad_norm": norm,
            "skipped": ~sound,
            "learning_rate": schedule(state["step"]),
            "tokens": real.sum(),
            "padding": (~real).mean(dtype=jnp.float32),
            "replaced": batch.replaced.sum(),
        }
        trained = {"params": params, "ema": ema}
        if cfg.power_averages:
            lengths = cfg.power_averages
            trained["powers"] = power_averages(state["powers"], new, state["step"], lengths)
        trained = choose(sound, trained, {name: state[name] for name in trained})
        return {**trained, "step": state["step"] + 1, "opt": opt}, metrics

    return jax.jit(train_step, donate_argnums=0, compiler_options=compiler_options() or None)


def make_eval_step(
    measure: Callable[[Params, Arrays, PackedBatch, jax.Array], dict[str, jax.Array]],
) -> Callable[[Params, Arrays, PackedBatch, jax.Array], Averages]:
    """`eval_step(params, frozen, batch, key)`, compiled: the measures of the batch's clips.

    measure: a task's `evaluate` or `inspect`. The step returns, by name, the averages over the
    clips of the measure and of its square.
    """

    @jax.jit
    def eval_step(params: Params, frozen: Arrays, batch: PackedBatch, key: jax.Array) -> Averages:
        mask = _replicated(batch.valid)
        average = lambda values: Average.from_model_output(_replicated(values), mask=mask)
        measures = measure(params, frozen, batch, key)
        return {name: (average(x), average(x**2)) for name, x in measures.items()}

    return eval_step


def merge(a: Averages, b: Averages) -> Averages:
    """The averages over the clips of two results of an evaluation step together; a may be {}."""
    if not a:
        return b
    return {name: tuple(x.merge(y) for x, y in zip(a[name], b[name])) for name in a}


def summarize(averages: Averages) -> dict[str, float]:
    """Python floats: the mean of each measure, and as NAME_stderr its standard error.

    Measures of no clip are left out.
    """
    values: dict[str, float] = {}
    for name, (first, second) in jax.device_get(averages).items():
        if not first.count:
            continue
        mean, count = float(first.compute()), float(first.count)
        variance = max(float(second.compute()) - mean**2, 0.0)
        values |= {name: mean, f"{name}_stderr": math.sqrt(variance / count)}
    return values


def _gradients(task: Task, accumulate: int) -> Callable[..., Any]:
    """value_and_grad of the task's loss, summed over `accumulate` micro-batches of the rows."""
    gradient = jax.value_and_grad(task.loss, has_aux=True)
    if accumulate == 1:
        return gradient

    def accumulated(
        params: Params,
        frozen: Arrays,
        batch: PackedBatch,
        weights: jax.Array,
        key: jax.Array,
        step: jax.Array,
    ) -> Any:
        def body(total: Any, micro: Any) -> tuple[Any, None]:
            result = gradient(params, frozen, *micro, key, step)
            return jax.tree.map(jnp.add, total, result), None

        micros = jax.tree.map(lambda x: _split_rows(x, accumulate), (batch, weights))
        first = jax.tree.map(lambda x: x[0], micros)
        zeros = jax.tree.map(
            lambda x: jnp.zeros(x.shape, x.dtype, out_sharding=_spec(x.sharding)),
            jax.eval_shape(gradient, params, frozen, *first, key, step),
        )
        return jax.lax.scan(body, zeros, micros)[0]

    return accumulated


def _split_rows(x: jax.Array, parts: int) -> jax.Array:
    """B ... -> parts B/parts ...; every device splits the rows that it holds, so none move."""
    shape = (x.shape[0] // parts, parts, *x.shape[1:])
    out = _spec(jax.typeof(x).sharding)
    if out is not None:
        out = PartitionSpec(out[0], None, *out[1:])
    return jnp.moveaxis(x.reshape(shape, out_sharding=out), 1, 0)


def _spec(sharding: Any) -> PartitionSpec | None:
    return None if spec() is None or sharding is None else sharding.spec


def _replicated(x: jax.Array) -> jax.Array:
    return x if spec() is None else jax.reshard(x, PartitionSpec())
