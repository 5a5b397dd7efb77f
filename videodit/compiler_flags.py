"""XLA options for the train step on each platform, with their reasons.

They are options of one compilation (`jax.jit(..., compiler_options=...)`), not of the process, so
a program compiled ahead of time equals the one that will run. The compilers of jax 0.10.2 (the
CUDA 12 plugin and libtpu 0.0.42) accept all of them; an option that another version does not accept
is left out with a warning.
"""

import functools
import logging
import os
from pathlib import Path

import jax

from videodit.sharding import target_device

MIB = 2**20

GPU = {
    # Starts gathering a layer's parameters and scattering its gradients as early as possible, and
    # waits for them as late as possible, so that they run beside matmuls and not between them.
    "xla_gpu_enable_latency_hiding_scheduler": True,
    # Joins neighbouring small collectives up to about a layer's parameters: NCCL needs about
    # 100 MiB to reach the links' bandwidth, and a larger collective would have nothing to run
    # beside.
    "xla_gpu_all_gather_combine_threshold_bytes": 128 * MIB,
    "xla_gpu_reduce_scatter_combine_threshold_bytes": 128 * MIB,
    # Nothing waits for the sums of gradients over the slow network, so they are few and large.
    "xla_gpu_all_reduce_combine_threshold_bytes": 256 * MIB,
    # In a scan over layers, parameters are gathered one iteration ahead and gradients scattered
    # one iteration later.
    "xla_gpu_enable_pipelined_all_gather": True,
    "xla_gpu_enable_pipelined_reduce_scatter": True,
    # Keeps matmuls apart that share an operand: otherwise the sums over the slots of a block's six
    # modulations become one matmul, whose six operands are first copied into one array.
    "xla_gpu_dot_merger_threshold_mb": 0,
}
TPU = {
    # Parameters are gathered whole before a matmul. Otherwise XLA may split the matmul by shards
    # (windowed einsum) and sum up its result in memory once per shard, as it did in the compiled
    # step of configs/autoencoder_b.py. The price: matmuls over `tensor` are not split either,
    # though their gathers of activations could run beside the parts.
    "xla_jf_spmd_threshold_for_windowed_einsum_mib": 1_000_000,
    # Runs gathers and other collectives as fusions beside several matmuls.
    "xla_tpu_enable_async_collective_fusion": True,
    "xla_tpu_enable_async_collective_fusion_fuse_all_gather": True,
    "xla_tpu_enable_async_collective_fusion_multiple_steps": True,
    "xla_tpu_overlap_compute_collective_tc": True,
    "xla_enable_async_all_gather": True,
    # Joins sums of gradients over `data`, also those of arrays of different sizes, and runs them
    # beside the optimizer.
    "xla_tpu_enable_data_parallel_all_reduce_opt": True,
    "xla_tpu_data_parallel_opt_different_sized_ops": True,
}
FLAGS = {"gpu": GPU, "cuda": GPU, "tpu": TPU}  # by the platform of a device
logger = logging.getLogger(__name__)


def compiler_options() -> dict[str, bool | int]:
    """The options for the devices of the current mesh; without a mesh, for the default device.

    Options that the compiler of this machine's devices does not accept are left out.
    """
    options = FLAGS.get(target_device().platform, {})
    if FLAGS.get(jax.default_backend()) is not options:  # compiling ahead of time
        return options
    return {name: value for name, value in options.items() if is_known(name, value)}


@functools.cache
def is_known(name: str, value: bool | int) -> bool:
    """Whether the compiler of the default device accepts this option; warns if not."""
    try:
        jax.jit(lambda: 0, compiler_options={name: value}).lower().compile()
    except jax.errors.JaxRuntimeError as error:
        logger.warning("compiler option left out: %s", str(error).splitlines()[0])
        return False
    return True


def keep_compiled(workdir: str | os.PathLike) -> None:
    """Keeps programs for accelerators in the workdir, so that restarts need not compile them.

    The environment may name another folder (JAX_COMPILATION_CACHE_DIR).
    """
    kept = jax.config.jax_compilation_cache_dir  # type: ignore[attr-defined]  # jax types no options
    if jax.default_backend() != "cpu" and not kept:
        jax.config.update("jax_compilation_cache_dir", str(Path(workdir).absolute() / "compiled"))
