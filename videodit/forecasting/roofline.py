"""Step time from a roofline: each kernel takes the longer of its arithmetic and its memory traffic.

A TPU's compiler writes into the program how many cycles it expects a kernel to take. That estimate
counts where it is longer, as for work on vectors and changes of layout.
Kernels run one after the other. Copies that XLA starts ahead (a TPU's from HBM to its own memory,
for one) and collectives over data and fsdp run beside them. The step waits for collectives over the
other axes, and for what is read from or written to the host's memory.
"""

from typing import NamedTuple

import jax
from jax.sharding import Mesh

from videodit.forecasting.chips import Chip
from videodit.forecasting.work import Collective, Kernel, Work

BESIDE_AXES = ("data", "fsdp")  # mesh axes whose collectives run beside the arithmetic
PASSES = {"all-reduce": 2.0}  # times that the bytes of a collective travel; others once


class Times(NamedTuple):
    """Seconds of a step on one device."""

    matmuls: float  # kernels that hold matmuls
    attention: float
    memory: float  # all other kernels
    hbm: float  # all reads and writes of HBM, also by copies beside the kernels
    beside: float  # collectives that run beside the kernels
    waited: float  # collectives that the step waits for
    host: float  # traffic between the chip and its host's memory

    @property
    def kernels(self) -> float:
        """Seconds of all kernels, which run one after the other."""
        return self.matmuls + self.attention + self.memory

    @property
    def step(self) -> float:
        """Seconds of the whole step."""
        return max(self.kernels, self.hbm, self.beside) + self.waited + self.host


def predict(work: Work, chip: Chip, mesh: Mesh) -> Times:
    """The seconds that a device of `mesh` needs for `work`; `chip` says how fast it is."""
    totals = dict.fromkeys(("matmuls", "attention", "memory"), 0.0)
    for kernel in work.kernels:
        if kernel.beside:
            continue
        kind = "attention" if kernel.attention else "matmuls" if kernel.flops else "memory"
        totals[kind] += kernel.times * kernel_seconds(kernel, chip)
    waits = {True: 0.0, False: 0.0}
    for exchange in work.collectives:
        waits[set(exchange.axes) <= set(BESIDE_AXES)] += exchange_seconds(exchange, chip, mesh)
    hbm = work.bytes / (chip.bandwidth * chip.streaming)
    host = work.host_bytes / (chip.host * chip.wire) if work.host_bytes else 0.0
    return Times(**totals, hbm=hbm, beside=waits[True], waited=waits[False], host=host)


def kernel_seconds(kernel: Kernel, chip: Chip) -> float:
    """Seconds of one launch of a kernel."""
    if kernel.attention:
        share = chip.attention[kernel.attention == "backward"]
    else:
        share = chip.exact if kernel.exact else chip.matmuls
    arithmetic = kernel.flops / (chip.peak * share)
    counted = kernel.cycles / chip.clock if chip.clock else 0.0
    return max(arithmetic, kernel.bytes / (chip.bandwidth * chip.streaming), counted) + chip.launch


def exchange_seconds(exchange: Collective, chip: Chip, mesh: Mesh) -> float:
    """Seconds of all runs of one kind of collective, by the bytes that a device sends.

    Each of n devices sends (n - 1)/n of the bytes, and twice that in an all-reduce. On the rings of
    a torus the bytes of an all-to-all pass n/4 links.
    """
    n = exchange.ways
    share = (n - 1) / max(n, 1) * PASSES.get(exchange.kind, 1.0)
    if exchange.kind == "collective-permute":
        share = 1.0
    if exchange.kind == "all-to-all" and chip.platform == "tpu":
        share *= max(n / 4, 1)
    speed = bandwidth(exchange.axes, chip, mesh) * chip.wire
    return exchange.times * exchange.bytes * share / speed


def bandwidth(axes: tuple[str, ...], chip: Chip, mesh: Mesh) -> float:
    """Bytes/s that a device can send to the others along these axes of the mesh.

    On a torus it sends in both directions of a ring along each dimension that the axes span.
    Across slices or nodes it uses the network, which the group's devices in one of them share.
    """
    members = _members(axes, mesh)
    slices = {_slice(device, chip) for device in members}
    if len(slices) > 1:
        return chip.network * len(members) / len(slices)
    if chip.platform != "tpu":
        return chip.link
    places = zip(*(device.coords for device in members))
    return 2 * chip.link * max(sum(len(set(place)) > 1 for place in places), 1)


def _members(axes: tuple[str, ...], mesh: Mesh) -> list:
    """The devices that differ from the mesh's first along these axes only."""
    index = tuple(slice(None) if axis in axes else 0 for axis in mesh.axis_names)
    return list(mesh.devices[index].flat)


def _slice(device: jax.Device, chip: Chip) -> int:
    """The number of the TPU slice or GPU node, whose devices a fast network joins."""
    return getattr(device, "slice_index", 0) if chip.platform == "tpu" else device.process_index
