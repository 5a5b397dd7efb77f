"""Topologies of absent accelerators that XLA can compile for."""

import importlib.util
import os
import re
from typing import NamedTuple

import jax
from jax.experimental import topologies

from videodit.config import ConfigError, nearest
from videodit.forecasting.chips import CHIPS, Chip

# What XLA must know about a GPU to compile for it (a GpuTargetConfigProto).
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
SHAPES = {
    "tpu": (r"[1-9]\d*(x[1-9]\d*)+(\*[1-9]\d*)?", "AxB or AxBxC chips, and *N for N slices"),
    "cuda": (r"[1-9]\d*x[1-9]\d*", "NODESxGPUS"),
}

LIBRARIES = {"tpu": ("libtpu", "tpu"), "cuda": ("jax_cuda12_plugin|jax_cuda13_plugin", "cuda")}
MOST_CPU_DEVICES = 512  # a process gets as many threads and more


class Topology(NamedTuple):
    """The devices of a slice or cluster, and what one of them is."""

    name: str
    chip: Chip
    devices: list


def use_no_accelerator() -> None:
    """Keeps this process off the machine's accelerators. It must run before any use of jax."""
    jax.config.update("jax_platforms", "cpu")
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")  # no TPU is asked for its shape
    os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")  # as none of them drives a TPU


def open_topology(name: str) -> Topology:
    """The topology "v5p:8x8x8" (chips along each axis of the torus), "v5e:16x16*2" (two such
    slices) or "h100:64x8" (nodes x GPUs).

    No accelerator is needed, but libtpu (extra [tpu]) or the CUDA plugin (extra [cuda]). "cpu:8" is
    the first 8 devices of this machine, which share its memory. Raises ConfigError for an unknown
    chip, a shape that does not exist, or a missing library.
    """
    kind, _, shape = name.partition(":")
    if kind == "cpu":
        return _cpu(name, shape)
    if kind not in CHIPS:
        raise ConfigError(f"--topology={name!r}: {nearest(kind, [*CHIPS, 'cpu'])}")
    pattern, example = SHAPES[CHIPS[kind].platform]
    if not re.fullmatch(pattern, shape):
        raise ConfigError(f"--topology={name!r}: expected {kind}:{example}")
    try:
        return Topology(name, CHIPS[kind], _devices(kind, shape))
    except Exception as error:  # the libraries raise many kinds
        library, extra = LIBRARIES[CHIPS[kind].platform]
        if not any(map(importlib.util.find_spec, library.split("|"))):
            needed = f"needs {library.partition('|')[0]}: pip install -e '.[{extra}]'"
            raise ConfigError(f"--topology={name!r}: {needed}") from None
        raise ConfigError(f"--topology={name!r}: {str(error).splitlines()[0]}") from None


def _devices(kind: str, shape: str) -> list:
    if CHIPS[kind].platform == "tpu":
        slice_shape, _, slices = shape.partition("*")
        several = {"num_slices": int(slices)} if slices else {}
        found = topologies.get_topology_desc(
            platform="tpu", topology_name=f"{kind}:{slice_shape}", **several
        )
    else:
        nodes, _, gpus = shape.partition("x")
        found = topologies.get_topology_desc(
            platform="cuda",
            topology_name=kind,
            target_config=H100,
            topology=f"1x{int(nodes)}x{int(gpus)}",
        )
    return list(found.devices)


def _cpu(name: str, count: str) -> Topology:
    available = jax.device_count()
    if not (count.isdigit() and 1 <= int(count) <= MOST_CPU_DEVICES):
        expected = f"cpu:N with N from 1 to {MOST_CPU_DEVICES}"
        raise ConfigError(f"--topology={name!r}: expected {expected}")
    if int(count) > available:  # not for the command, which makes as many as it needs
        raise ConfigError(f"--topology={name!r}: this process has {available} devices")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / int(count)
    return Topology(name, Chip("cpu", memory), jax.devices()[: int(count)])
