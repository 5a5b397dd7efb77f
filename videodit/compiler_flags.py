"""What XLA is told about the train step, by platform, and why.

They are options of the compilation (`jax.jit(..., compiler_options=...)`) and not of the process,
so that a program compiled ahead of time is the one that will run. All are known to the compilers
of jax 0.10.2 (the CUDA 12 plugin and libtpu 0.0.42); one that another version does not know is
left out, with a warning.
"""

import functools
import logging

import jax

from videodit.sharding import target_device

MIB = 2**20

GPU = {
    # Starts the gathering of a layer's parameters, and the scattering of its gradients, as early
    # as it can, and ends them as late: they then run beside products and not between them.
    "xla_gpu_enable_latency_hiding_scheduler": True,
    # Joins small collectives of neighbours into one, up to about a layer's parameters: NCCL needs
    # some 100 MiB to reach the links' bandwidth, and one that is larger would have nothing to
    # run beside.
    "xla_gpu_all_gather_combine_threshold_bytes": 128 * MIB,
    "xla_gpu_reduce_scatter_combine_threshold_bytes": 128 * MIB,
    # The sums of gradients over the slow network wait for nothing: few and large.
    "xla_gpu_all_reduce_combine_threshold_bytes": 256 * MIB,
    # In a scan over layers the next layer's parameters are gathered a turn ahead, and gradients
    # scattered a turn later.
    "xla_gpu_enable_pipelined_all_gather": True,
    "xla_gpu_enable_pipelined_reduce_scatter": True,
    # Does not join products that share a factor: the sums over the slots of the six modulations
    # of a block would be one product of six arrays that are copied together first.
    "xla_gpu_dot_merger_threshold_mb": 0,
}
TPU = {
    # Parameters are gathered whole before a product. Else XLA may take the product apart by the
    # shards (windowed einsum) and add up its result in memory as often as there are shards, as
    # the compiled step of configs/autoencoder_b.py showed. Products over `tensor` are then not
    # taken apart either, though their gathers of activations could run beside the parts.
    "xla_jf_spmd_threshold_for_windowed_einsum_mib": 1_000_000,
    # Runs gathers and other collectives as fusions beside matrix products, over several of them.
    "xla_tpu_enable_async_collective_fusion": True,
    "xla_tpu_enable_async_collective_fusion_fuse_all_gather": True,
    "xla_tpu_enable_async_collective_fusion_multiple_steps": True,
    "xla_tpu_overlap_compute_collective_tc": True,
    "xla_enable_async_all_gather": True,
    # Sums of gradients over data are joined, also of arrays of different sizes, and overlapped
    # with the optimizer.
    "xla_tpu_enable_data_parallel_all_reduce_opt": True,
    "xla_tpu_data_parallel_opt_different_sized_ops": True,
}
FLAGS = {"gpu": GPU, "cuda": GPU, "tpu": TPU}  # by the platform of a device
logger = logging.getLogger(__name__)


def compiler_options() -> dict[str, bool | int]:
    """The options for the devices of the current mesh, or for the default device without one.

    Raises nothing: options that the compiler of this machine's devices refuses are left out.
    """
    options = FLAGS.get(target_device().platform, {})
    if FLAGS.get(jax.default_backend()) is not options:  # compiled ahead of time
        return options
    return {name: value for name, value in options.items() if is_known(name, value)}


@functools.cache
def is_known(name: str, value: bool | int) -> bool:
    """Whether the compiler of the default device takes this option; a warning if not."""
    try:
        jax.jit(lambda: 0, compiler_options={name: value}).lower().compile()
    except jax.errors.JaxRuntimeError as error:
        logger.warning("left out: %s", str(error).splitlines()[0])
        return False
    return True
