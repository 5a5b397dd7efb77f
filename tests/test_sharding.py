import os
import socket
import subprocess
import sys
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from videodit import sharding
from videodit.config import ConfigError, MeshConfig
from videodit.sharding import (
    AXES,
    abstract,
    arrange,
    axis_size,
    first_rows,
    join_processes,
    make_mesh,
    replicate,
    spec,
)


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
    (MeshConfig(fsdp=3), r"8 devices cannot be divided by .* = 3; change mesh.fsdp, or .* :smoke"),
    (MeshConfig(fsdp=-1), "-1 for one axis"),
    (MeshConfig(tensor=0), "at least 1"),
    (MeshConfig(slices=2, fsdp=8), "data=1: expected a multiple of 2 slices"),
    (MeshConfig(slices=3, data=8), "8 devices do not lie evenly in 3 slices"),
    (MeshConfig(slices=-1), "mesh.slices=-1: expected 1"),
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


def test_the_first_rows_travel_alone(mesh):
    x = np.arange(64 * 1024).reshape(64, 1024)
    np.testing.assert_array_equal(first_rows(x, 3), x[:3])
    with mesh(2, 2, 2, 1):
        sharded = jax.reshard(x, spec("batch", "length"))
        rows = first_rows(sharded, 3)
        assert rows.sharding.is_fully_replicated
        np.testing.assert_array_equal(rows, x[:3])
        step = jax.jit(lambda x: first_rows(x, 3)).lower(sharded).compile()
    assert step.memory_analysis().temp_size_in_bytes < 2 * rows.nbytes  # and not 64


def tpu_slices(count, side=4):
    """Fake chips of slices side x side, the slices mixed."""
    chips = [
        SimpleNamespace(
            platform="tpu",
            device_kind="TPU v5 lite",
            process_index=4 * n + x,
            slice_index=n,
            coords=(x, y, 0),
            core_on_chip=0,
            id=100 * n + side * y + x,
        )
        for x, y, n in np.ndindex(side, side, count)
    ]
    return chips


def test_slices_lie_along_data_and_all_else_inside_of_one():
    devices = arrange(MeshConfig(data=4, fsdp=4, tensor=2), tpu_slices(2))
    assert devices.shape == (4, 4, 1, 1, 2) and len({d.id for d in devices.flat}) == 32
    slices = np.vectorize(lambda d: d.slice_index)(devices)
    assert [set(part.flat) for part in slices] == [{0}, {0}, {1}, {1}]


def test_tensor_neighbours_are_neighbours_in_the_torus():
    devices = arrange(MeshConfig(data=1, fsdp=4, tensor=4), tpu_slices(1))
    for row in devices.reshape(4, 4):
        assert len({d.coords[0] for d in row}) == 1 or len({d.coords[1] for d in row}) == 1


def test_gpus_are_grouped_by_process():
    gpu = lambda i: SimpleNamespace(
        platform="gpu", device_kind="H100", process_index=i // 2, id=i, slice_index=0
    )
    devices = arrange(
        MeshConfig(data=2, fsdp=4, slices=2), [gpu(i) for i in (4, 5, 0, 1, 6, 7, 2, 3)]
    )
    processes = np.vectorize(lambda d: d.process_index)(devices).reshape(2, 4)
    assert processes.tolist() == [[0, 0, 1, 1], [2, 2, 3, 3]]


@pytest.mark.parametrize("cfg, devices, message", [
    (MeshConfig(slices=1), tpu_slices(2), "mesh.slices=1: expected 2"),
    (MeshConfig(data=1, fsdp=31), tpu_slices(2), "31 devices do not lie evenly in 2 slices"),
    (MeshConfig(data=1, fsdp=32), tpu_slices(2), "data=1: expected a multiple of 2"),
])  # fmt: skip
def test_slices_that_the_devices_do_not_have_are_refused(cfg, devices, message):
    with pytest.raises(ConfigError, match=message):
        arrange(cfg, devices)


@pytest.fixture
def joined(monkeypatch):
    """The arguments of each call of jax.distributed.initialize."""
    calls = []
    for name in ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(jax.distributed, "initialize", lambda *args, **_: calls.append(args))
    monkeypatch.setattr(sharding.os, "environ", dict(os.environ))
    return calls


def test_the_environment_says_which_processes_join(joined, monkeypatch):
    join_processes(MeshConfig())
    assert joined == []
    monkeypatch.setenv("JAX_COORDINATOR_ADDRESS", "host:1")
    with pytest.raises(ConfigError, match="expected numbers in JAX_NUM_PROCESSES"):
        join_processes(MeshConfig())
    monkeypatch.setenv("JAX_NUM_PROCESSES", "4")
    monkeypatch.setenv("JAX_PROCESS_ID", "2")
    join_processes(MeshConfig())
    assert joined == [("host:1", 4, 2)]


@pytest.fixture
def on_tpu(monkeypatch, tmp_path):
    """A machine with a TPU chip."""
    (tmp_path / "accel0").touch()
    monkeypatch.setattr(sharding, "TPU_FILES", (str(tmp_path / "accel*"),))
    before = jax.config.jax_platforms
    jax.config.update("jax_platforms", "tpu,cpu")
    yield
    jax.config.update("jax_platforms", before)


def test_the_hosts_of_a_tpu_pod_are_found_by_jax_alone(joined, on_tpu, monkeypatch):
    """A TPU VM's environment names no other host: jax asks the VM's metadata server."""
    join_processes(MeshConfig())
    assert joined == [()]
    monkeypatch.setenv("JAX_COORDINATOR_ADDRESS", "host:1")
    monkeypatch.setenv("JAX_NUM_PROCESSES", "4")
    monkeypatch.setenv("JAX_PROCESS_ID", "2")
    join_processes(MeshConfig())
    assert joined == [(), ("host:1", 4, 2)]


def test_a_tpu_without_a_cluster_and_a_cpu_beside_a_tpu_are_alone(joined, on_tpu, monkeypatch):
    for error in (ValueError("coordinator_address should be defined."), OSError("no server")):

        def unknown(error=error):
            raise error

        monkeypatch.setattr(jax.distributed, "initialize", unknown)
        join_processes(MeshConfig())
    jax.config.update("jax_platforms", "cpu")
    monkeypatch.setattr(jax.distributed, "initialize", lambda: joined.append("tpu"))
    join_processes(MeshConfig())
    assert joined == []


def test_under_slurm_a_process_sees_all_gpus_of_its_node(monkeypatch):
    """What srun sets for the only process of a node; jax would let it see GPU 0 alone."""
    names = ("JOB_ID", "STEP_NODELIST", "NTASKS", "PROCID", "LOCALID", "STEP_NUM_NODES")
    for name, value in zip(names, ("7", "node1", "1", "0", "0", "1")):
        monkeypatch.setenv(f"SLURM_{name}", value)
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        address = f"localhost:{probe.getsockname()[1]}"
    several = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
    for name, value in zip(several, (address, "1", "0")):
        monkeypatch.setenv(name, value)
    code = """from jax._src import xla_bridge
from videodit.config import MeshConfig
from videodit.sharding import join_processes
join_processes(MeshConfig())
print(xla_bridge.CUDA_VISIBLE_DEVICES.value)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "all", done.stderr


def test_a_mesh_has_devices_of_every_process(monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(ConfigError, match="mesh of 4 devices: expected all 8 of the 2 processes"):
        make_mesh(MeshConfig(data=4))


def test_jax_gets_most_of_a_gpus_memory_unless_the_user_says_how_much(joined, monkeypatch):
    for name in sharding.MEMORY_VARIABLES:
        sharding.os.environ.pop(name, None)
    join_processes(MeshConfig())
    assert sharding.os.environ.pop("XLA_CLIENT_MEM_FRACTION") == "0.93"
    sharding.os.environ["XLA_PYTHON_CLIENT_MEM_FRACTION"] = "0.5"
    join_processes(MeshConfig())
    assert "XLA_CLIENT_MEM_FRACTION" not in sharding.os.environ
