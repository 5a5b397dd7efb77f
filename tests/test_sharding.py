import jax
import numpy as np
import pytest

from videodit.config import ConfigError, MeshConfig
from videodit.sharding import AXES, abstract, axis_size, make_mesh, replicate, spec


def test_logical_names_become_mesh_axes(mesh):
    assert spec("batch", None) is None  # no mesh: no sharding
    with mesh(2, 2, 1, 2):
        assert tuple(spec("batch", "length", "heads")) == (
            ("data", "fsdp"),
            ("ring", "context"),
            "tensor",
        )
        assert axis_size("batch") == 4 and axis_size("attention_heads") == 2
        with pytest.raises(KeyError):
            spec("width")


def test_one_axis_takes_the_devices_that_remain():
    assert dict(make_mesh(MeshConfig(fsdp=2)).shape) == dict(zip(AXES, (4, 2, 1, 1, 1)))


@pytest.mark.parametrize("cfg, message", [
    (MeshConfig(data=16), "needs 16 devices, there are 8"),
    (MeshConfig(fsdp=3), "8 devices do not divide by 3"),
    (MeshConfig(fsdp=-1), "-1 for one axis"),
    (MeshConfig(tensor=0), "at least 1"),
])  # fmt: skip
def test_a_mesh_that_does_not_fit_is_named(cfg, message):
    with pytest.raises(ConfigError, match=message):
        make_mesh(cfg)


def test_abstract_knows_shapes_dtypes_and_shardings(mesh):
    with mesh(4, 2):
        make = lambda: {
            "a": jax.numpy.zeros((4, 6), out_sharding=spec(None, "embed")),
            "b": jax.numpy.zeros(3),
        }
        made, target = jax.jit(make)(), abstract(make)
        for name in made:
            assert target[name].sharding.is_equivalent_to(made[name].sharding, made[name].ndim)
            assert (target[name].shape, target[name].dtype) == (made[name].shape, made[name].dtype)


def test_replicated_arrays_are_whole_everywhere(mesh):
    with mesh(2, 2, 2, 1):
        x = replicate({"x": np.arange(6.0)})["x"]
        assert x.sharding.is_fully_replicated and len(x.devices()) == 8
