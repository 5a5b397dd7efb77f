"""What one device does in a run of a compiled program: arithmetic, memory traffic, collectives."""

import math
import re
from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jax.sharding import Mesh

from videodit.forecasting.hlo import (
    Array,
    Computation,
    Instruction,
    Program,
    is_attention,
    label,
    match,
)

COLLECTIVES = (
    *("all-gather", "all-reduce", "reduce-scatter", "all-to-all"),
    *("collective-permute", "ragged-all-to-all", "collective-broadcast"),
)
FREE = {  # moves no bytes itself
    *("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all"),
    *("partition-id", "replica-id", "opt-barrier", "async-done", "async-update", "copy-done"),
}
COPIES = ("copy-start", "slice-start")  # that run beside the kernels
# Matmuls of an attention kernel, by a word in its label; a kernel without one does two, forward.
# The backward pass of splash is two kernels, which both compute the weights and their gradients.
BACKWARD = {"_dkv_": 4, "_dq_": 3, "Backward": 5, "_bwd": 5}
MATMUL = re.compile(r'custom_call_target="[^"]*(?:gemm|matmul)', re.IGNORECASE)
CONTRACTED = re.compile(r'(?:lhs_contracting_dims=\{|"lhs_contracting_dimensions":\[)([\d,"]*)')
PAIRS = re.compile(r"source_target_pairs=\{\{([\d,{}]*)\}\}")
LISTED = re.compile(r"replica_groups=\{\{([\d,{}]*)\}\}")
IOTA = re.compile(r"replica_groups=\[([\d,]+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?")
NAMED = re.compile(
    r"replica_groups=mesh\[([^\]]*)\]"
    r"(?:, device_ids=\(\[([\d,]+)\](?:T\(([\d,]+)\))?\))? \{([^}]*)\}"
)
AXIS = re.compile(r"'(\w+)'(?::\((\d+)\)(\d+))?")
CYCLES = re.compile(r'"estimated_cycles":"(\d+)"')
CHAIN = re.compile(r'chain_id="(\d+)"')
BLOCKS = re.compile(r'block_(q|kv)(?:_dkv|_dq)?\\*": (\d+)')
WINDOW = re.compile(r"window=\{([^}]*)\}")


class Collective(NamedTuple):
    """One kind of exchange. `bytes` is the size on one device of its input or of its output,
    whichever is larger.
    """

    kind: str
    axes: tuple[str, ...]  # of the mesh, along which the devices exchange
    ways: int  # devices that take part
    bytes: float
    times: float


class Kernel(NamedTuple):
    """One kind of launch: FLOPs of its matmuls, bytes that it reads and writes in HBM."""

    flops: float
    bytes: float
    host_bytes: float  # bytes that it reads and writes in the memory of the host
    exact: bool  # the matmuls have full float32 precision
    attention: str  # "forward" or "backward" if it is an attention kernel
    beside: bool  # a copy that runs beside other kernels
    cycles: float  # of the chip's clock, by XLA's own model; 0 if XLA does not say
    times: float


class Seen(NamedTuple):
    """Shares of a row's pairs of tokens that attention does not skip."""

    tiles: float  # kernels compute the tiles in which two tokens are of the same clip
    blocks: float  # loops go over blocks of keys from the first that is seen to the last


EVERYTHING = Seen(1.0, 1.0)


class Work(NamedTuple):
    """What one device does in one run of the program."""

    kernels: tuple[Kernel, ...]
    collectives: tuple[Collective, ...]

    @property
    def flops(self) -> float:
        """FLOPs of matmuls, as executed."""
        return sum(x.flops * x.times for x in self.kernels)

    @property
    def bytes(self) -> float:
        """Bytes read and written in HBM."""
        return sum(x.bytes * x.times for x in self.kernels)

    @property
    def host_bytes(self) -> float:
        """Bytes read and written in the memory of the host."""
        return sum(x.host_bytes * x.times for x in self.kernels)


def work(program: Program, mesh: Mesh, seen: Seen = EVERYTHING) -> Work:
    """The work of a compiled program."""
    kernels: defaultdict[Kernel, float] = defaultdict(float)  # how often each runs
    collectives: defaultdict[Collective, float] = defaultdict(float)
    chains: set[tuple[int, str]] = set()
    for x, computation, times in program.instructions(seen.blocks):
        found = list(_exchanges(x, computation, program.fused(x), mesh))
        for exchange, chain in found:
            # A TPU lets one go on in several fusions, a chain: it counts in the first.
            if (id(computation), chain) not in chains:
                collectives[exchange] += times
            chains |= {(id(computation), chain)} if chain else set()
        if x.opcode not in FREE and not x.opcode.endswith("-done"):
            launch = kernel(x, computation, program.fused(x), seen.tiles)
            if launch.flops or not found:
                kernels[launch] += times
    return Work(
        tuple(x._replace(times=times) for x, times in kernels.items()),
        tuple(x._replace(times=times) for x, times in collectives.items()),
    )


def kernel(x: Instruction, computation: Computation, fused: Computation, pairs: float) -> Kernel:
    """One launch of an instruction; `fused` is what it runs if it is a fusion."""
    moved = traffic(x, computation, fused), host_traffic(x, computation)
    if is_attention(x):
        matmuls = next((n for word, n in BACKWARD.items() if word in label(x)), 2)
        kind = "forward" if matmuls == 2 else "backward"
        flops = attention_flops(x, computation, matmuls, pairs)
        return Kernel(flops, *moved, False, kind, False, 0.0, 0.0)
    places = [(x, computation), *((y, fused) for y in fused.values())]
    counted = [(matmul_flops(y, place), y, place) for y, place in places]
    flops, largest, place = max(counted, key=lambda found: found[0])
    exact = flops > 0 and _is_exact(largest, place)
    total = sum(flops for flops, *_ in counted)
    counted_by_xla = CYCLES.search(x.attributes)
    cycles = float(counted_by_xla[1]) if counted_by_xla else 0.0
    return Kernel(total, *moved, exact, "", x.opcode in COPIES, cycles, 0.0)


def matmul_flops(x: Instruction, computation: Computation) -> float:
    """FLOPs of a matmul or convolution, two for each multiply-add; 0 for anything else."""
    if x.opcode == "convolution":
        return _convolution_flops(x, *(_operand(x, computation, i) for i in (0, 1)))
    if x.opcode == "dot" or (x.opcode == "custom-call" and MATMUL.search(x.attributes)):
        found = CONTRACTED.search(x.attributes)
        dims = [int(d) for d in re.findall(r"\d+", found[1])] if found else [-1]
        factor = _operand(x, computation, 0)
        return 2 * math.prod(x.outputs[0].dims) * math.prod(factor.dims[d] for d in dims)
    return 0.0


def _is_exact(x: Instruction, computation: Computation) -> bool:
    """Whether a matmul has full float32 precision; 16-bit inputs may ask for it in vain."""
    return "highest" in x.attributes and _operand(x, computation, 0).dtype == "f32"


def attention_flops(x: Instruction, computation: Computation, matmuls: int, pairs: float) -> float:
    """FLOPs of an attention kernel: `matmuls` matmuls over the share `pairs` that it sees."""
    arrays = [_output(computation, name) for name in x.operands]
    queries, keys = [a.dims for a in arrays if len(a.dims) > 2 and "f" in a.dtype][:2]
    places = math.prod(queries[:-1]) * max(keys)  # of a query and a key
    if blocks := dict(reversed(BLOCKS.findall(x.attributes))):  # splash: of rows that are joined
        listed = next(a.dims for a in arrays if len(a.dims) > 2 and a.dtype == "s32")
        places = queries[0] * math.prod(listed) * int(blocks["q"]) * int(blocks["kv"])
    return 2 * matmuls * places * queries[-1] * pairs


def _convolution_flops(x: Instruction, inputs: Array, kernel: Array) -> float:
    """FLOPs of a convolution: two for each multiply-add of a kernel value and an input value.

    TPUs write batched matmuls as convolutions.
    """
    labels = match(re.compile(r"dim_labels=(\w+)_(\w+)->(\w+)"), x.attributes)
    of = lambda label, part, array: array.dims[labels[part].index(label)]
    window = WINDOW.search(x.attributes)
    fields = dict(re.findall(r"(\w+)=([\w\-]+)", window[1])) if window else {}
    total = 2.0 * of("b", 3, x.outputs[0]) * of("f", 3, x.outputs[0]) * of("i", 2, kernel)
    for i in range(len(inputs.dims) - 2):
        part = {name: value.split("x")[i] for name, value in fields.items()}
        sizes = of(str(i), 1, inputs), of(str(i), 2, kernel), of(str(i), 3, x.outputs[0])
        total *= _meeting(*sizes, **part)
    return total


def _meeting(
    inputs: int,
    kernel: int,
    outputs: int,
    *,
    stride: str | int = 1,
    pad: str = "0_0",
    lhs_dilate: str | int = 1,
    rhs_dilate: str | int = 1,
    **_: str,
) -> int:
    """Number of pairs (output place, kernel place) along a dimension that read an input."""
    dilate = int(lhs_dilate)
    places = int(stride) * np.arange(outputs)[:, None] + int(rhs_dilate) * np.arange(kernel)
    places = places - int(pad.split("_")[0])
    inside = (places >= 0) & (places <= (inputs - 1) * dilate) & (places % dilate == 0)
    return int(inside.sum())


def traffic(x: Instruction, computation: Computation, fused: Computation) -> float:
    """Bytes that an instruction reads from HBM and writes to it.

    If an array is only sliced, the slices count; if one is updated in place, the update counts.
    """
    if x.opcode in ("dynamic-slice", "slice", "gather"):
        return 2 * x.outputs[0].hbm_bytes
    if x.opcode == "dynamic-update-slice":
        return 2 * _operand(x, computation, 1).hbm_bytes
    operands = [_output(computation, name) for name in x.operands]
    if x.opcode == "slice-start":  # gives what it slices and the slice
        return x.outputs[1].hbm_bytes + (0.0 if operands[0].space else x.outputs[1].bytes)
    if not fused:
        return sum(array.hbm_bytes for array in (*operands, *_results(x)))
    total = sum(_written(root, out, fused) for root, out in zip(_roots(fused), x.outputs))
    for y in fused.values():
        if y.opcode == "parameter" and not operands[int(y.arguments)].space:
            total += _read(y, fused)
    return total


def host_traffic(x: Instruction, computation: Computation) -> float:
    """Bytes that an instruction reads from the memory of the host and writes to it.

    These are whole arrays. On TPUs only copies do it, on GPUs any kernel may.
    """
    operands = [_output(computation, name) for name in x.operands]
    return sum(array.host_bytes for array in (*operands, *_results(x)))


def collective(x: Instruction, computation: Computation, mesh: Mesh) -> Collective | None:
    """One run of the collective that an instruction is; None if it is something else."""
    kind = x.opcode.removesuffix("-start")
    if kind not in COLLECTIVES:
        return None
    size = sum(_output(computation, name).bytes for name in x.operands)
    axes = mesh_axes(device_groups(x.attributes, mesh.size), mesh)
    ways = math.prod(mesh.shape[axis] for axis in axes)
    return Collective(kind, axes, ways, size * ways if kind == "all-gather" else size, 0.0)


def device_groups(attributes: str, devices: int) -> list[list[int]]:
    """The groups of devices that exchange with one another, by their numbers in the mesh."""
    if found := PAIRS.search(attributes) or LISTED.search(attributes):
        return [[int(i) for i in group.split(",")] for group in found[1].split("},{")]
    if found := IOTA.search(attributes):
        shape, sizes, order = (_numbers(part) for part in found.groups())
        ids = np.arange(devices).reshape(sizes)
        return ids.transpose(order or range(len(sizes))).reshape(shape).tolist()
    if found := NAMED.search(attributes):
        return _named_groups(devices, *found.groups())
    return [list(range(devices))]


def mesh_axes(groups: list[list[int]], mesh: Mesh) -> tuple[str, ...]:
    """Axes of the mesh along which the devices of a group differ."""
    shape = tuple(mesh.shape.values())
    places = [np.stack(np.unravel_index(group, shape)) for group in groups]  # axes x members
    varies = np.any([(place != place[:, :1]).any(1) for place in places], axis=0)
    return tuple(axis for axis, differs in zip(mesh.axis_names, varies) if differs)


def _named_groups(devices: int, sizes: str, shape: str, order: str, chosen: str) -> list[list[int]]:
    """The groups of mesh['a'=4,'b'=2], device_ids=([2,4]T(1,0)) {'b'}.

    {'a':(1)2} names a part of axis a: it has 2 places, and 1 place of the axis lies before it.
    """
    ids = np.arange(devices)
    if shape:
        ids = ids.reshape(_numbers(shape))
        ids = ids.transpose(_numbers(order) or range(ids.ndim)).reshape(-1)
    parts = {name: (before, size) for name, before, size in AXIS.findall(chosen)}
    dims, taken = [], []
    for name, size in re.findall(r"'(\w+)'=(\d+)", sizes):
        before, part = parts.get(name, ("", ""))
        split = (int(before), int(part)) if part else (1, int(size))
        dims += [*split, int(size) // math.prod(split)]
        taken += [False, name in parts, False]
    others_first = sorted(range(len(dims)), key=lambda i: taken[i])
    ways = math.prod(size for size, inside in zip(dims, taken) if inside)
    return ids.reshape(dims).transpose(others_first).reshape(-1, ways).tolist()


def _numbers(text: str | None) -> list[int]:
    return [int(number) for number in text.split(",")] if text else []


def _exchanges(
    x: Instruction, computation: Computation, fused: Computation, mesh: Mesh
) -> Iterator[tuple[Collective, str]]:
    """The collectives that an instruction is or contains, and the chain of each or ""."""
    sliced = any(y.opcode == "dynamic-slice" for y in fused.values())
    for y, place in [(x, computation), *((y, fused) for y in fused.values())]:
        if found := collective(y, place, mesh):
            # TPUs scatter by an all-reduce that is fused with the slice that each device keeps.
            scatters = found.kind == "all-reduce" and y is not x and sliced
            chain = CHAIN.search(y.attributes)
            kind = "reduce-scatter" if scatters else found.kind
            yield found._replace(kind=kind), chain[1] if chain else ""


def _output(computation: Computation, name: str) -> Array:
    return computation[name].outputs[0]


def _operand(x: Instruction, computation: Computation, i: int) -> Array:
    return _output(computation, x.operands[i])


def _results(x: Instruction) -> tuple[Array, ...]:
    """What an instruction other than slice-start makes; copy-start lists its source as well."""
    return x.outputs[:1] if x.opcode.endswith("-start") else x.outputs


def _roots(fused: Computation) -> list[Instruction]:
    root = next(y for y in fused.values() if y.root)
    return [fused[name] for name in root.operands] if root.opcode == "tuple" else [root]


def _written(root: Instruction, out: Array, fused: Computation) -> float:
    while root.opcode == "bitcast":
        root = fused[root.operands[0]]
    if out.space or root.opcode == "parameter":  # passes through: not written on TPUs
        return 0.0
    if root.opcode == "dynamic-update-slice":
        return _operand(root, fused, 1).bytes
    return out.bytes


def _read(y: Instruction, fused: Computation) -> float:
    """Bytes that a fusion reads of its parameter (or a bitcast of it) `y`."""
    users = [z for z in fused.values() if y.name in z.operands]
    total = 0.0
    for z in users:
        if z.opcode == "bitcast":
            total += _read(z, fused)
        elif z.opcode in ("dynamic-slice", "slice", "gather"):
            total += z.outputs[0].bytes
        elif (z.opcode == "tuple" and z.root) or z.opcode.removesuffix("-start") in COLLECTIVES:
            continue  # passes through, or counts as an exchange
        elif z.opcode != "dynamic-update-slice" or z.operands[0] != y.name:
            return y.outputs[0].bytes
    return min(total, y.outputs[0].bytes)
