"""A flax NNX class as a pair of pure functions over a plain nested dict of arrays.

NNX is used to write layers and for nothing else: parameters, gradients, optimizer state and
checkpoints are dicts of arrays. The only file that knows about NNX graph definitions.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from videodit.sharding import gathered


def functional(
    make: Callable[[nnx.Rngs], nnx.Module], dtype: str = "float32", gather: str = "layer"
) -> tuple[Callable[[jax.Array], Any], Callable[..., Any]]:
    """`(init, apply)` of the module that `make(rngs)` builds.

    `init(key)` returns float32 parameters as nested dicts, created sharded on the current
    mesh. `apply(params, *args, method="__call__", **kwargs)` casts the parameters to `dtype`
    once and calls the method. They are gathered over fsdp where a layer uses them (ZeRO-3,
    arXiv:1910.02054), or before, with gather="step": they and their gradients are then whole on
    every device, except the float32 parameters, the optimizer's state and the EMA (ZeRO-1).
    """
    graphdef = nnx.graphdef(nnx.eval_shape(lambda: make(nnx.Rngs(0))))

    def init(key: jax.Array) -> Any:
        return nnx.to_pure_dict(nnx.state(make(nnx.Rngs(key)), nnx.Param))

    def apply(params: Any, *args: Any, method: str = "__call__", **kwargs: Any) -> Any:
        params = jax.tree.map(lambda p: p.astype(jnp.dtype(dtype)), params)
        params = gathered(params) if gather == "step" else params
        return getattr(nnx.merge(graphdef, params), method)(*args, **kwargs)

    return init, apply
