"""The mesh, and what logical axis names mean on it: the only file that knows mesh axes.

Layers name the logical axes of their parameters and activations (`spec("embed", "mlp")`), and
RULES maps each name to mesh axes. Parameters are stored sharded over fsdp (`embed`) and gathered
where they are used. Activations are sharded over batch rows, over row length (`length`) and, inside
a layer, over `heads` or `mlp`. In attention, tensor and context together divide the heads
(`attention_heads`; DeepSpeed-Ulysses, arXiv:2309.14509), and ring divides the row
(`attention_length`): see nn/ring.py.
"""

import glob
import logging
import math
import os
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import mesh_utils, multihost_utils
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from videodit.config import ConfigError, MeshConfig, check

AXES = ("data", "fsdp", "ring", "context", "tensor")

RULES: dict[str | None, str | tuple[str, ...] | None] = {
    "batch": ("data", "fsdp"),
    "length": ("ring", "context"),
    "act_embed": None,  # the width of an activation, whole on every device
    "embed": "fsdp",  # the width of a parameter
    "mlp": "tensor",
    "heads": "tensor",
    "attention_heads": ("tensor", "context"),
    "attention_length": "ring",
    None: None,
}
HOST = "pinned_host"  # jax's name of host memory that devices can read
GPU_MEMORY = 0.93  # share of a GPU's memory that jax takes; jax's default is 0.75
MEMORY_VARIABLES = ("XLA_CLIENT_MEM_FRACTION", "XLA_PYTHON_CLIENT_MEM_FRACTION")
TPU_FILES = ("/dev/accel*", "/dev/vfio/[0-9]*")  # chips of v2 to v5p, chips of v5e and later
T = TypeVar("T")
logger = logging.getLogger(__name__)


def spec(*names: str | None) -> PartitionSpec | None:
    """The PartitionSpec of an array whose axes have these logical names; None without a mesh.

    Raises KeyError for an unknown name.
    """
    axes = [RULES[name] for name in names]
    return None if jax.sharding.get_abstract_mesh().empty else PartitionSpec(*axes)


def make_mesh(cfg: MeshConfig, devices: Sequence | None = None) -> jax.sharding.Mesh:
    """An explicit mesh with the axes of AXES over as many devices as `cfg` asks for.

    devices: used instead of jax.devices(), for example those of a topology. Raises ConfigError if
    there are too few devices, if their number does not divide, or if the mesh leaves devices of
    several processes out.
    """
    found = arrange(cfg, jax.devices() if devices is None else devices)
    if devices is None and jax.process_count() > 1 and found.size < jax.device_count():
        raise ConfigError(
            f"mesh of {found.size} devices: expected all {jax.device_count()} of the "
            f"{jax.process_count()} processes; mesh.data=-1 takes those that remain"
        )
    return jax.sharding.Mesh(found, AXES, axis_types=(AxisType.Explicit,) * len(AXES))


def local_mesh() -> jax.sharding.Mesh:
    """A mesh of this process's own devices, which divide the rows of a batch."""
    return make_mesh(MeshConfig(), jax.local_devices())


def arrange(cfg: MeshConfig, devices: Sequence) -> np.ndarray:
    """The devices in the shape of the mesh, so that neighbours are close in the network.

    Slices lie along `data`; every other axis stays inside one slice. Raises ConfigError.
    """
    shape = mesh_shape(cfg, len(devices))
    slices = _slices(cfg, devices[: math.prod(shape)])
    if shape[0] % len(slices):
        raise ConfigError(f"mesh data={shape[0]}: expected a multiple of {len(slices)} slices")
    inner = (shape[0] // len(slices), *shape[1:])
    make = mesh_utils.create_device_mesh
    return np.concatenate([make(inner, x, allow_split_physical_axes=True) for x in slices])


def _slices(cfg: MeshConfig, devices: Sequence) -> list[list]:
    """Equal groups of devices that a fast network joins: TPU slices, or cfg.slices groups.

    GPUs are grouped in the order of their processes. Raises ConfigError.
    """
    tpu = devices[0].platform == "tpu"
    number = [getattr(d, "slice_index", 0) if tpu else d.process_index for d in devices]
    count = len(set(number)) if tpu else max(cfg.slices, 1)
    check(cfg.slices in (0, count), "mesh.slices", cfg.slices, f"{count}, as the devices have it")
    size, uneven = divmod(len(devices), count)
    if uneven or (tpu and any(number.count(n) != size for n in set(number))):
        raise ConfigError(f"mesh: {len(devices)} devices do not lie evenly in {count} slices")
    ordered = [devices[i] for i in np.argsort(number, kind="stable")]
    return [ordered[i : i + size] for i in range(0, len(ordered), size)]


def mesh_shape(cfg: MeshConfig, available: int) -> tuple[int, ...]:
    """Devices along each of AXES, with -1 replaced. Raises ConfigError like `make_mesh`."""
    shape = [getattr(cfg, axis) for axis in AXES]
    fixed = math.prod(size for size in shape if size != -1)
    asked = " x ".join(f"{axis}={size}" for axis, size in zip(AXES, shape))
    if shape.count(-1) > 1 or any(size < 1 and size != -1 for size in shape):
        raise ConfigError(
            f"mesh {asked}: expected sizes of at least 1, and -1 for one axis at most"
        )
    if -1 in shape:
        if available % fixed:
            axes = " x ".join(axis for axis in AXES if getattr(cfg, axis) != -1)
            raise ConfigError(
                f"{available} devices cannot be divided by {axes} = {fixed}; change {_causes(cfg)}"
            )
        shape[shape.index(-1)] = available // fixed
    if math.prod(shape) > available:
        raise ConfigError(
            f"mesh {asked}: needs {math.prod(shape)} devices, there are {available}; "
            f"change {_causes(cfg)} (mesh.cpu_devices makes fake ones on a CPU)"
        )
    return tuple(shape)


def _causes(cfg: MeshConfig) -> str:
    """What to change in a mesh that is too large: the axes that are longer than 1."""
    longer = [f"mesh.{axis}" for axis in AXES if getattr(cfg, axis) > 1]
    return f"{', '.join(longer)}, or try the config's variant :smoke"


def join_processes(cfg: MeshConfig) -> None:
    """Makes fake CPU devices if asked to, and joins the other processes of the run, if any.

    Call it before any other use of jax. The environment names the processes:
    JAX_COORDINATOR_ADDRESS (host:port of process 0), JAX_NUM_PROCESSES and JAX_PROCESS_ID. On TPUs
    jax asks GKE's environment or the VM's metadata server instead. On GPUs jax takes GPU_MEMORY of
    the memory, unless the environment sets another share. Raises ConfigError if JAX_NUM_PROCESSES
    or JAX_PROCESS_ID is missing.
    """
    if not any(name in os.environ for name in MEMORY_VARIABLES):
        os.environ[MEMORY_VARIABLES[0]] = str(GPU_MEMORY)
    if cfg.cpu_devices:
        jax.config.update("jax_platforms", "cpu")
        jax.config.update("jax_num_cpu_devices", cfg.cpu_devices)
    names = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
    address, *numbers = (os.environ.get(name, "") for name in names)
    if address:
        if not all(number.isdigit() for number in numbers):
            raise ConfigError(f"{names[0]} is set: expected numbers in {names[1]} and {names[2]}")
        # Without "deactivate", jax would let each process under Slurm see only one GPU of its node.
        count, index = map(int, numbers)
        jax.distributed.initialize(address, count, index, cluster_detection_method="deactivate")
    elif _uses_tpu():
        try:
            jax.distributed.initialize()
        except (ValueError, OSError) as error:  # no known cluster, or no metadata server
            logger.warning("looking for no other hosts: %s", error)


def _uses_tpu() -> bool:
    """Whether jax will use TPU chips of this machine; finds out without starting jax."""
    platforms = jax.config.jax_platforms  # type: ignore[attr-defined]
    forced = (platforms or "tpu").split(",")[0]
    return forced == "tpu" and any(map(glob.glob, TPU_FILES))


def target_device() -> Any:
    """The device that programs are compiled for: one of the mesh, else the default device.

    It has the attributes `platform` and `device_kind`.
    """
    return jax.sharding.get_abstract_mesh().abstract_device or jax.devices()[0]


def first_alone(make: Callable[[], T]) -> T:
    """Calls `make()` on process 0 first and then on the others, so that files are written once."""
    if jax.process_count() == 1:
        return make()
    if jax.process_index() > 0:
        multihost_utils.sync_global_devices("first_alone")
        return make()
    made = make()
    multihost_utils.sync_global_devices("first_alone")
    return made


def from_all(number: int) -> list[int]:
    """The number, at least 0 and below 2**32, that each process calls this with, in their order."""
    numbers = multihost_utils.process_allgather(np.array([number], np.uint32))
    return np.ravel(numbers).tolist()


def check_together(check: Callable[[], object]) -> None:
    """Calls `check()` in every process. If it raises ConfigError in one, all raise ConfigError."""
    error: ConfigError | None = None
    try:
        check()
    except ConfigError as found:
        error = found
    failed = from_all(int(error is not None))
    if error is None and any(failed):
        error = ConfigError(f"process {failed.index(1)} has refused the run and says why")
    if error:
        raise error


def check_same(digest: str, what: str) -> None:
    """Raises ConfigError naming `what` if `digest` (hexadecimal) differs between processes."""
    if len(set(from_all(int(digest[:8], 16)))) > 1:
        raise ConfigError(
            f"{what}: processes do not see the same; index a folder once, where all can read it"
        )


def axis_size(name: str) -> int:
    """How many parts the current mesh splits the logical axis `name` into; 1 without a mesh."""
    rule = RULES[name]
    axes = rule if isinstance(rule, tuple) else (rule,)
    shape = jax.sharding.get_abstract_mesh().shape
    return int(np.prod([shape.get(axis, 1) for axis in axes]))


def abstract(function: Callable[..., Any], *args: Any) -> Any:
    """Shapes, dtypes and shardings of `function(*args)`, which is not computed.

    Returns a tree of ShapeDtypeStruct, such as a checkpoint is restored into.
    """
    mesh = jax.sharding.get_mesh()
    jaxpr, shapes = jax.make_jaxpr(function, return_shape=True)(*args)

    def leaf(x: Any, aval: Any) -> jax.ShapeDtypeStruct:
        kind = HOST if aval.memory_space == jax.memory.Space.Host else None
        spec = x.sharding.spec if x.sharding else PartitionSpec()
        sharding = NamedSharding(mesh, spec, memory_kind=kind)
        return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)

    leaves, tree = jax.tree.flatten(shapes)
    return jax.tree.unflatten(tree, map(leaf, leaves, jaxpr.out_avals))


def abstract_whole(*shape: int) -> jax.ShapeDtypeStruct:
    """A float32 array that every device of the current mesh has whole, as `replicate` makes it."""
    sharding = NamedSharding(jax.sharding.get_mesh(), PartitionSpec())
    return jax.ShapeDtypeStruct(shape, np.float32, sharding=sharding)


def gathered(tree: Any) -> Any:
    """The tree's arrays gathered along fsdp; they stay sharded along other mesh axes."""

    def leaf(x: jax.Array) -> jax.Array:
        axes = (
            entry if isinstance(entry, tuple) else (entry,) for entry in jax.typeof(x).sharding.spec
        )
        kept = (tuple(axis for axis in entry if axis not in (None, "fsdp")) for entry in axes)
        return jax.reshard(x, PartitionSpec(*(entry or None for entry in kept)))

    return tree if spec() is None else jax.tree.map(leaf, tree)


def to_host(tree: Any) -> Any:
    """Moves arrays to the memory of their devices' hosts, sharded as before; scalars stay."""
    return _to_memory(tree, jax.memory.Space.Host)


def to_device(tree: Any) -> Any:
    """Moves arrays from hosts' memory back to their devices."""
    return _to_memory(tree, jax.memory.Space.Device)


def _to_memory(tree: Any, space: Any) -> Any:
    return jax.tree.map(lambda x: jax.device_put(x, space) if x.ndim else x, tree)


def first_rows(x: jax.Array, count: int) -> jax.Array:
    """The first `count` rows of an array, whole on every device; other rows are not sent."""
    if spec() is None:
        return x[:count]
    return x.at[np.arange(count)].get(out_sharding=PartitionSpec())


def replicate(tree: Any) -> Any:
    """The tree's arrays (numpy or global jax), whole on every device of the current mesh."""
    mesh = jax.sharding.get_mesh()
    return tree if mesh.empty else jax.device_put(tree, NamedSharding(mesh, PartitionSpec()))
