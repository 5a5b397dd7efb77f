"""The mesh and what the logical axis names mean on it: the only file that knows mesh axes.

Layers name the logical axes of their parameters and activations (`spec("embed", "mlp")`); RULES
maps each to mesh axes. Parameters are stored sharded over fsdp (`embed`) and gathered where they
are used; activations are sharded over batch rows, row length (`length`) and, inside a layer,
over `heads` or `mlp`. In attention the heads are shared out over tensor and context together
(`attention_heads`; DeepSpeed-Ulysses, arXiv:2309.14509), and the row over what remains of its own
axes (`attention_length`), around which keys travel (nn/ring.py).
"""

import glob
import logging
import math
import os
from collections.abc import Sequence

import jax
import numpy as np
from jax.experimental import mesh_utils, multihost_utils
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from videodit.config import ConfigError, MeshConfig, check

AXES = ("data", "fsdp", "ring", "context", "tensor")

RULES = {
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
HOST = "pinned_host"  # jax's name of the memory of hosts that their devices read
GPU_MEMORY = 0.93  # share of a GPU's memory that jax takes; its own choice is 0.75
MEMORY_VARIABLES = ("XLA_CLIENT_MEM_FRACTION", "XLA_PYTHON_CLIENT_MEM_FRACTION")
TPU_FILES = ("/dev/accel*", "/dev/vfio/[0-9]*")  # of chips: v2 to v5p, and v5e and later
logger = logging.getLogger(__name__)


def spec(*names: str | None) -> PartitionSpec | None:
    """The PartitionSpec of an array whose axes have these logical names; None outside a mesh.

    Raises KeyError for an unknown name.
    """
    axes = [RULES[name] for name in names]
    return None if jax.sharding.get_abstract_mesh().empty else PartitionSpec(*axes)


def make_mesh(cfg: MeshConfig, devices: Sequence | None = None) -> jax.sharding.Mesh:
    """An explicit mesh with the axes of AXES over the first devices that `cfg` asks for.

    devices: other ones than jax.devices(), such as those of a topology. Raises ConfigError if they
    are too few or do not divide, or if a process would have none in the mesh.
    """
    found = arrange(cfg, jax.devices() if devices is None else devices)
    if devices is None and jax.process_count() > 1 and found.size < jax.device_count():
        raise ConfigError(
            f"mesh of {found.size} devices: expected all {jax.device_count()} of the "
            f"{jax.process_count()} processes; mesh.data=-1 takes those that remain"
        )
    return jax.sharding.Mesh(found, AXES, axis_types=(AxisType.Explicit,) * len(AXES))


def local_mesh() -> jax.sharding.Mesh:
    """A mesh of this process's own devices, which share out the rows of a batch."""
    return make_mesh(MeshConfig(), jax.local_devices())


def arrange(cfg: MeshConfig, devices: Sequence) -> np.ndarray:
    """The devices in the shape of the mesh, neighbours near each other in their network.

    Slices lie along `data`: every other axis stays inside of one. Raises ConfigError.
    """
    shape = mesh_shape(cfg, len(devices))
    slices = _slices(cfg, devices[: math.prod(shape)])
    if shape[0] % len(slices):
        raise ConfigError(f"mesh data={shape[0]}: expected a multiple of {len(slices)} slices")
    inner = (shape[0] // len(slices), *shape[1:])
    make = mesh_utils.create_device_mesh
    return np.concatenate([make(inner, x, allow_split_physical_axes=True) for x in slices])


def _slices(cfg: MeshConfig, devices: Sequence) -> list[list]:
    """Devices in equal groups that a fast network joins: TPU slices, or as many as cfg asks for.

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
    """Devices along each of AXES, the one -1 filled in. Raises ConfigError as `make_mesh`."""
    shape = [getattr(cfg, axis) for axis in AXES]
    fixed = math.prod(size for size in shape if size != -1)
    asked = " x ".join(f"{axis}={size}" for axis, size in zip(AXES, shape))
    if shape.count(-1) > 1 or any(size < 1 and size != -1 for size in shape):
        raise ConfigError(
            f"mesh {asked}: expected sizes of at least 1, and -1 for one axis at most"
        )
    if -1 in shape:
        if available % fixed:
            raise ConfigError(f"mesh {asked}: {available} devices do not divide by {fixed}")
        shape[shape.index(-1)] = available // fixed
    if math.prod(shape) > available:
        raise ConfigError(
            f"mesh {asked}: needs {math.prod(shape)} devices, there are {available} "
            "(mesh.cpu_devices makes fake ones on a CPU)"
        )
    return tuple(shape)


def join_processes(cfg: MeshConfig) -> None:
    """Before any other use of jax: fakes CPU devices if asked, joins the other processes if any.

    Several processes are there if JAX_COORDINATOR_ADDRESS (host:port of process 0) is set, with
    JAX_NUM_PROCESSES and JAX_PROCESS_ID; on TPUs jax asks GKE's environment or the metadata server
    of the VM for them. On GPUs jax gets GPU_MEMORY of the memory, unless the environment says
    otherwise. Raises ConfigError if one of the three is missing.
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
        # Under Slurm jax would let each process see but one of its node's GPUs.
        count, index = map(int, numbers)
        jax.distributed.initialize(address, count, index, cluster_detection_method="deactivate")
    elif _uses_tpu():
        try:
            jax.distributed.initialize()
        except (ValueError, OSError) as error:  # jax knows of no cluster, there is no server to ask
            logger.warning("no other hosts are looked for: %s", error)


def _uses_tpu() -> bool:
    """Whether jax will use TPU chips of this machine; does not use jax yet."""
    forced = (jax.config.jax_platforms or "tpu").split(",")[0]
    return forced == "tpu" and any(map(glob.glob, TPU_FILES))


def target_device():
    """What a program is made for, by `platform` and `device_kind`: the mesh's devices, or the
    default one without a mesh.
    """
    return jax.sharding.get_abstract_mesh().abstract_device or jax.devices()[0]


def first_alone(make):
    """`make()` on process 0, and then on the others: what it leaves on disk is made once."""
    if jax.process_count() == 1:
        return make()
    if jax.process_index() > 0:
        multihost_utils.sync_global_devices("first_alone")
        return make()
    made = make()
    multihost_utils.sync_global_devices("first_alone")
    return made


def check_same(digest: str, what: str) -> None:
    """Raises ConfigError naming `what` if processes have different digests (hexadecimal)."""
    if jax.process_count() > 1:
        digests = multihost_utils.process_allgather(np.array([int(digest[:8], 16)], np.uint32))
        if len(set(np.ravel(digests).tolist())) > 1:
            raise ConfigError(
                f"{what}: processes do not see the same; index a folder once, where all can read it"
            )


def axis_size(name: str) -> int:
    """How many ways the logical axis `name` is split on the current mesh; 1 outside a mesh."""
    axes = RULES[name] if isinstance(RULES[name], tuple) else (RULES[name],)
    shape = jax.sharding.get_abstract_mesh().shape
    return int(np.prod([shape.get(axis, 1) for axis in axes]))


def abstract(function, *args):
    """Shapes, dtypes and shardings of `function(*args)`, nothing computed: a restore target."""
    mesh = jax.sharding.get_mesh()
    jaxpr, shapes = jax.make_jaxpr(function, return_shape=True)(*args)

    def leaf(x, aval):
        kind = HOST if aval.memory_space == jax.memory.Space.Host else None
        spec = x.sharding.spec if x.sharding else PartitionSpec()
        sharding = NamedSharding(mesh, spec, memory_kind=kind)
        return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)

    leaves, tree = jax.tree.flatten(shapes)
    return tree.unflatten(map(leaf, leaves, jaxpr.out_avals))


def gathered(tree):
    """The tree's arrays whole along fsdp, as they are used; their other axes stay sharded."""

    def leaf(x):
        axes = (
            entry if isinstance(entry, tuple) else (entry,) for entry in jax.typeof(x).sharding.spec
        )
        kept = (tuple(axis for axis in entry if axis not in (None, "fsdp")) for entry in axes)
        return jax.reshard(x, PartitionSpec(*(entry or None for entry in kept)))

    return tree if spec() is None else jax.tree.map(leaf, tree)


def to_host(tree):
    """The tree's arrays in the memory of their devices' hosts, sharded as before; not scalars."""
    return _to_memory(tree, jax.memory.Space.Host)


def to_device(tree):
    """The tree's arrays in the memory of their devices."""
    return _to_memory(tree, jax.memory.Space.Device)


def _to_memory(tree, space):
    return jax.tree.map(lambda x: jax.device_put(x, space) if x.ndim else x, tree)


def first_rows(x, count: int):
    """The first `count` rows of an array whole on every device of the mesh; no others travel."""
    if spec() is None:
        return x[:count]
    return x.at[np.arange(count)].get(out_sharding=PartitionSpec())


def replicate(tree):
    """The tree's arrays (numpy or global jax) whole on every device of the current mesh."""
    mesh = jax.sharding.get_mesh()
    return tree if mesh.empty else jax.device_put(tree, NamedSharding(mesh, PartitionSpec()))
