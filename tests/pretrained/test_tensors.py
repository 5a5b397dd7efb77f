import json
from typing import ClassVar

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec
from safetensors.numpy import save_file

from videodit.config import ConfigError
from videodit.pretrained import tensors as module
from videodit.pretrained.tensors import INDEX, Tensors, read_tensors

DEPTH = 2
VALUES = {
    "embed.weight": np.arange(32, dtype=np.float32).reshape(8, 4),
    "scale": np.array(3, np.float32),
    **{
        f"layer.{i}.weight": (100 * i + np.arange(48).reshape(6, 8)).astype(ml_dtypes.bfloat16)
        for i in range(DEPTH)
    },
}
NAMES = {
    "embed": Tensors.of("embed.weight"),
    "scale": Tensors.of("scale"),
    "stack/kernel": Tensors.layers("layer.{}.weight", DEPTH, axes=(1, 0)),
}
EXPECTED = {
    "embed": VALUES["embed.weight"],
    "scale": VALUES["scale"],
    "stack": {
        "kernel": np.stack([VALUES[f"layer.{i}.weight"].T for i in range(DEPTH)]).astype(np.float32)
    },
}


def target(mesh, kernel=(None, "fsdp", "tensor")):
    """Float32 arrays of the expected shapes, sharded."""
    specs = {"embed": ("fsdp", None), "scale": (), "stack": {"kernel": kernel}}

    def leaf(value, spec):
        sharding = NamedSharding(mesh, PartitionSpec(*spec))
        return jax.ShapeDtypeStruct(value.shape, jnp.float32, sharding=sharding)

    return jax.tree.map(leaf, EXPECTED, specs)


@pytest.fixture
def devices():
    return jax.make_mesh((2, 2), ("fsdp", "tensor"), devices=jax.devices()[:4])


@pytest.fixture
def folder(tmp_path):
    """The tensors in two files with an index."""
    files = {"a.safetensors": ["embed.weight", "layer.1.weight"]}
    files["b.safetensors"] = [name for name in VALUES if name not in files["a.safetensors"]]
    for file, names in files.items():
        save_file({name: VALUES[name] for name in names}, tmp_path / file)
    where = {name: file for file, names in files.items() for name in names}
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": where}))
    return tmp_path


class Watched:
    """A safetensors file that notes the shapes of all slices that are read."""

    read: ClassVar[list] = []

    def __init__(self, file, name=None):
        self._file, self._name = file, name

    def __enter__(self):
        return Watched(self._file.__enter__())

    def __exit__(self, *error):
        return self._file.__exit__(*error)

    def keys(self):
        return self._file.keys()

    def get_slice(self, name):
        return Watched(self._file.get_slice(name), name)

    def get_shape(self):
        return self._file.get_shape()

    def __getitem__(self, index):
        part = self._file[index]
        Watched.read.append((self._name, part.shape))
        return part


@pytest.mark.parametrize("names", [NAMES, NAMES.__getitem__])
def test_arrays_are_read_in_parts_and_each_part_once(folder, devices, monkeypatch, names):
    opened = module.safe_open
    monkeypatch.setattr(module, "safe_open", lambda *a, **k: Watched(opened(*a, **k)))
    monkeypatch.setattr(Watched, "read", [])
    wanted = target(devices)
    arrays = read_tensors(folder, wanted, names)
    jax.tree.map(np.testing.assert_array_equal, arrays, EXPECTED)
    for array, leaf in zip(jax.tree.leaves(arrays), jax.tree.leaves(wanted)):
        assert array.sharding == leaf.sharding and array.dtype == leaf.dtype
    # Half of the embedding's rows a read, a quarter of a layer's kernel, never more than needed.
    assert sorted(Watched.read) == [
        *[("embed.weight", (4, 4))] * 2,
        *[(f"layer.{i}.weight", (3, 4)) for i in range(DEPTH) for _ in range(4)],
        ("scale", ()),
    ]


def test_a_stack_may_be_shared_out_by_layers(folder, devices):
    wanted = target(devices, kernel=("fsdp", None, "tensor"))
    arrays = read_tensors(folder / INDEX, wanted, NAMES)
    jax.tree.map(np.testing.assert_array_equal, arrays, EXPECTED)


def test_one_file_is_a_model_too(tmp_path, devices):
    save_file(VALUES, tmp_path / "model.safetensors")
    for path in (tmp_path, tmp_path / "model.safetensors"):
        arrays = read_tensors(path, target(devices), NAMES)
        jax.tree.map(np.testing.assert_array_equal, arrays, EXPECTED)


def test_what_does_not_fit_is_named(folder, devices, tmp_path):
    def refused(pattern, path=folder, wanted=None, names=NAMES, **options):
        with pytest.raises(ConfigError, match=pattern) as error:
            read_tensors(path, wanted or target(devices), names, **options)
        assert "\n" not in str(error.value)

    refused("lacks the tensors absent$", names=NAMES | {"embed": Tensors.of("absent")})
    shorter = NAMES | {"stack/kernel": Tensors.layers("layer.{}.weight", 1, axes=(1, 0))}
    refused(r"does not use: layer\.1\.weight$", names=shorter)
    refused(r"layer\.0\.weight: expected .*\(2, 8, 6\), found 1 x", names=shorter, left="layer.*")
    upright = NAMES | {"stack/kernel": Tensors.layers("layer.{}.weight", DEPTH)}
    refused(r"layer\.0\.weight: expected .*\(2, 8, 6\), found 2 x \(6, 8\)", names=upright)
    refused("no such file; expected model.safetensors", path=tmp_path / "absent")
    (folder / "a.safetensors").write_bytes(b"\x00" * 20)
    refused(r"a\.safetensors: not a readable")
    (folder / INDEX).write_text("[]")
    refused(r"index\.json: expected an object of fields")
    (folder / INDEX).write_text("{}")
    refused(r"index\.json: not an index")
