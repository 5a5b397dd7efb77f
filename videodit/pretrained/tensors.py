"""Weights in safetensors files, read straight into sharded arrays.

This is for codecs and text encoders that others trained; no command uses it yet.

A process reads only the parts of the tensors that its devices hold: the files are mapped into
memory, and the safetensors library copies slices. A model is one file, or several with an index:

    FOLDER/model.safetensors
    FOLDER/model.safetensors.index.json     which file has which tensor
"""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from safetensors import SafetensorError, safe_open

from videodit.config import ConfigError, one_line
from videodit.files import read_object

FILE = "model.safetensors"
INDEX = "model.safetensors.index.json"
SHOWN = 3  # names in a message

Index = tuple[slice, ...]


class Tensors(NamedTuple):
    """The tensors that an array consists of."""

    names: tuple[str, ...]
    stacked: bool = False  # along a new first axis, as the layers of a Stack; else there is one
    axes: tuple[int, ...] = ()  # of each tensor, in the order of the array's; (): as they are

    @classmethod
    def of(cls, name: str, axes: tuple[int, ...] = ()) -> "Tensors":
        """One tensor. `axes` (1, 0) is its transpose."""
        return cls((name,), axes=axes)

    @classmethod
    def layers(cls, name: str, depth: int, axes: tuple[int, ...] = ()) -> "Tensors":
        """Tensors whose names are `name` with 0, 1, ... in place of {}, one a layer."""
        return cls(tuple(name.format(i) for i in range(depth)), True, axes)


# Array's path ("stack/attention/query/kernel") -> what it is made of.
NameMap = Mapping[str, Tensors] | Callable[[str], Tensors]


def read_tensors(path: str | os.PathLike, target: Any, names: NameMap, *, left: str = "") -> Any:
    """Arrays with target's shapes, dtypes and shardings, filled from the tensors of `names`.

    path: a .safetensors file, an index, or the folder of one. target: nested dicts of
    jax.ShapeDtypeStruct with shardings, as sharding.py:abstract makes them. left: a regular
    expression for tensors that no array needs. Raises ConfigError naming tensors that are missing,
    that have another shape, or that no array uses.
    """
    find = names if callable(names) else names.__getitem__
    places, tree = jax.tree_util.tree_flatten_with_path(target)
    wanted = [(find(_name(path)), leaf) for path, leaf in places]
    with ExitStack() as stack:
        files = _Files(path, stack)
        files.check([tensors for tensors, _ in wanted], left)
        return jax.tree.unflatten(tree, [files.array(*pair) for pair in wanted])


def _name(path: tuple[Any, ...]) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")


class _Files:
    """The open files of a model."""

    def __init__(self, path: str | os.PathLike, stack: ExitStack) -> None:
        """`stack` closes them."""
        self._path = path
        self._files: dict[str, Any] = {}
        for file in _list_files(Path(path)):
            opened = _open(file, stack)
            self._files |= {name: opened for name in opened.keys()}  # noqa: SIM118 (no mapping)

    def check(self, wanted: Sequence[Tensors], left: str) -> None:
        """Raises ConfigError for missing tensors and for unexpected ones."""
        used = {name for tensors in wanted for name in tensors.names}
        missing = sorted(used - self._files.keys())
        self._refuse_if(missing, "lacks the tensors")
        extra = self._files.keys() - used
        extra = {name for name in extra if not (left and re.fullmatch(left, name))}
        self._refuse_if(sorted(extra), "has tensors that the model does not use:")

    def _refuse_if(self, names: Sequence[str], what: str) -> None:
        if names:
            more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
            raise ConfigError(f"{self._path}: {what} {', '.join(names[:SHOWN])}{more}")

    def array(self, tensors: Tensors, target: jax.ShapeDtypeStruct) -> jax.Array:
        """The array; each part is read once, however many devices hold it."""
        self._check_shapes(tensors, target.shape)
        parts: dict[str, np.ndarray] = {}

        def read(index: Index | None) -> np.ndarray:
            bounds = tuple(slice(*i.indices(n)) for i, n in zip(index or (), target.shape))
            key = repr(bounds)
            if key not in parts:
                parts[key] = self._read(tensors, bounds).astype(target.dtype)
            return parts[key]

        return jax.make_array_from_callback(target.shape, target.sharding, read)

    def _check_shapes(self, tensors: Tensors, shape: tuple[int, ...]) -> None:
        expected = shape[1:] if tensors.stacked else shape
        for name in tensors.names:
            found = tuple(self._files[name].get_slice(name).get_shape())
            seen = tuple(found[axis] for axis in tensors.axes) if tensors.axes else found
            if seen != expected or (tensors.stacked and len(tensors.names) != shape[0]):
                layers = f"{len(tensors.names)} x " if tensors.stacked else ""
                raise ConfigError(
                    f"{self._path}: tensor {name}: expected the shape of {shape}, "
                    f"found {layers}{found} with axes {tensors.axes or 'as they are'}"
                )

    def _read(self, tensors: Tensors, index: Index) -> np.ndarray:
        """The part of the array at `index`, in the tensors' dtype."""
        if not tensors.stacked:
            return self._slice(tensors.names[0], tensors.axes, index)
        layers = tensors.names[index[0]]
        return np.stack([self._slice(name, tensors.axes, index[1:]) for name in layers])

    def _slice(self, name: str, axes: tuple[int, ...], index: Index) -> np.ndarray:
        tensor = self._files[name].get_slice(name)
        if not index:
            return tensor[...]
        if not axes:
            return tensor[index]
        place = dict(zip(axes, index))
        return tensor[tuple(place[axis] for axis in range(len(axes)))].transpose(axes)


def _list_files(path: Path) -> list[Path]:
    """The .safetensors files of a model. Raises ConfigError if there are none."""
    if path.is_dir():
        path = path / INDEX if (path / INDEX).is_file() else path / FILE
    if not path.is_file():
        raise ConfigError(f"{path}: no such file; expected {FILE}, or {INDEX} and its files")
    if path.suffix != ".json":
        return [path]
    try:
        names = read_object(path)["weight_map"].values()
    except (KeyError, AttributeError) as error:
        raise ConfigError(f"{path}: not an index of safetensors files: {error!r}") from error
    return [path.parent / name for name in sorted(set(names))]


def _open(file: Path, stack: ExitStack) -> Any:
    try:
        return stack.enter_context(safe_open(file, framework="numpy"))
    except (SafetensorError, OSError) as error:
        raise ConfigError(f"{file}: not a readable safetensors file: {one_line(error)}") from error
