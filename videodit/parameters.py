"""Groups of a model's parameters: how each is clipped, decayed and updated, and whether it has an
EMA.

A parameter is known by its path, the names that lead to it: ("dit", "stack", "blocks", "kernel").
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

Path = tuple[str, ...]
Params = dict[str, Any]  # nested dicts of arrays


def is_dense_kernel(path: Path) -> bool:
    """Whether the parameter is the matrix of a dense layer: no bias, norm or offset."""
    return path[-1] == "kernel"


class ParameterGroup(NamedTuple):
    """Parameters that are clipped by their common norm and updated by one optimizer."""

    name: str
    contains: Callable[[Path], bool] = lambda path: True
    decays: Callable[[Path], bool] = is_dense_kernel  # which of them weight decay applies to
    averaged: bool = True  # are they in the EMA, which evaluation and later runs read?
    optimizer: str = "adamw"  # a name of optim.py:OPTIMIZERS


Groups = Sequence[ParameterGroup]  # a parameter belongs to the first one that contains it
ALL = (ParameterGroup("all"),)


def group_of(path: Path, groups: Groups) -> ParameterGroup:
    """The group of a parameter. Raises ValueError if none of the groups contains it."""
    for group in groups:
        if group.contains(path):
            return group
    raise ValueError(f"no group contains the parameter {'.'.join(path)}")


def by_group(
    function: Callable[[Path, ParameterGroup], Any], params: Params, groups: Groups
) -> Any:
    """The tree of `function(path, group)` of every parameter."""

    def leaf(path: tuple[Any, ...], _: Any) -> Any:
        names = tuple(str(entry.key) for entry in path)
        return function(names, group_of(names, groups))

    return jax.tree_util.tree_map_with_path(leaf, params)


def averaged(params: Params, groups: Groups) -> Params:
    """The parameters of the groups that have an EMA, without empty dicts."""
    kept = by_group(lambda path, group: group.averaged, params, groups)
    return _pruned(params, kept)


def replaced(params: Params, new: Params) -> Params:
    """The parameters with those in `new` replaced; `new` may hold only some of them."""
    inner = {
        name: replaced(params[name], value) if isinstance(value, dict) else value
        for name, value in new.items()
    }
    return params | inner


def _pruned(params: Params, kept: Params) -> Params:
    found = {}
    for name, value in params.items():
        if isinstance(value, dict):
            part = _pruned(value, kept[name])
            if part or not value:
                found[name] = part
        elif kept[name]:
            found[name] = value
    return found


def choose(condition: jax.Array | bool, yes: Any, no: Any) -> Any:
    """The tree `yes` if the condition, a bool scalar, holds, else the tree `no`; under jit."""
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), yes, no)


@jax.jit
def all_finite(tree: Any) -> jax.Array:
    """Whether no number in a tree of arrays is NaN or infinite: a bool scalar."""
    found = [jnp.isfinite(x).all() for x in jax.tree.leaves(tree)]
    return jnp.stack(found).all() if found else jnp.array(True)
