"""Accelerators that are not there: device topologies that XLA can compile for."""

import os
from typing import NamedTuple

import jax
import numpy as np
from jax.experimental import mesh_utils, topologies
from jax.sharding import AxisType, Mesh

from videodit.config import ConfigError, MeshConfig, nearest
from videodit.sharding import AXES, mesh_shape

GIB = 2**30


class Chip(NamedTuple):
    """One accelerator: memory that a program may use, in bytes."""

    platform: str
    memory: float


CHIPS = {  # vendors' data sheets
    "v5e": Chip("tpu", 15.75 * GIB),
    "v5p": Chip("tpu", 95 * GIB),
    "v6e": Chip("tpu", 31.25 * GIB),
    "h100": Chip("cuda", 80e9),
}
# What XLA asks of a GPU in order to compile for it (a GpuTargetConfigProto).
H100 = """
gpu_device_info {
  threads_per_block_limit: 1024 threads_per_warp: 32
  shared_memory_per_block: 49152 shared_memory_per_core: 233472 threads_per_core_limit: 2048
  core_count: 132 fpus_per_core: 128
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  memory_bandwidth: 3352320000000 l2_cache_size: 52428800 clock_rate_ghz: 1.98
  device_memory_size: 84929347584 shared_memory_per_block_optin: 232448
  cuda_compute_capability { major: 9 minor: 0 }
  registers_per_core_limit: 65536 registers_per_block_limit: 65536
}
platform_name: "CUDA"
dnn_version_info { major: 9 minor: 28 patch: 0 }
runtime_version { major: 12 minor: 9 patch: 0 }
device_description_str: "NVIDIA H100 80GB HBM3"
"""


class Topology(NamedTuple):
    """The devices of a slice or cluster, and what one of them is."""

    name: str
    chip: Chip
    devices: list


def open_topology(name: str) -> Topology:
    """The topology "v5p:8x8x8" (chips along each axis of the torus) or "h100:64x8" (nodes x GPUs).

    No accelerator is needed, but libtpu (extra [tpu]) or the CUDA plugin (extra [cuda]). "cpu:8" is
    the first 8 devices of this machine, which share its memory. Raises ConfigError for an unknown
    chip, a shape that does not exist, or a missing library.
    """
    kind, _, shape = name.partition(":")
    if kind == "cpu":
        return _cpu(name, shape)
    if kind not in CHIPS:
        raise ConfigError(f"--topology={name!r}: {nearest(kind, [*CHIPS, 'cpu'])}")
    chip = CHIPS[kind]
    try:
        if chip.platform == "tpu":
            found = topologies.get_topology_desc(platform="tpu", topology_name=name)
        else:
            nodes, _, gpus = shape.partition("x")
            shape = f"1x{nodes}x{gpus}"
            found = topologies.get_topology_desc(
                platform="cuda", topology_name=kind, target_config=H100, topology=shape
            )
    except Exception as error:  # the libraries raise many kinds
        raise ConfigError(f"--topology={name!r}: {str(error).splitlines()[0]}") from None
    return Topology(name, chip, list(found.devices))


def _cpu(name: str, count: str) -> Topology:
    available = jax.device_count()
    if not (count.isdigit() and 1 <= int(count) <= available):
        raise ConfigError(f"--topology={name!r}: expected 1 to {available} devices")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / int(count)
    return Topology(name, Chip("cpu", memory), jax.devices()[: int(count)])


def topology_mesh(cfg: MeshConfig, topology: Topology) -> Mesh:
    """The mesh that `cfg` asks for over all chips of the topology. Raises ConfigError."""
    shape = mesh_shape(cfg, len(topology.devices))
    if topology.chip.platform == "tpu":
        devices = mesh_utils.create_device_mesh(
            shape, topology.devices, allow_split_physical_axes=True
        )
    else:
        devices = np.array(topology.devices).reshape(shape)
    return jax.sharding.Mesh(devices, AXES, axis_types=(AxisType.Explicit,) * len(AXES))
