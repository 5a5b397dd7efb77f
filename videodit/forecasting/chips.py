"""What an accelerator can do: data sheets, and the shares of them that programs reach.

Peaks, memory and links: cloud.google.com/tpu/docs/{v5e,v5p,v6e}, NVIDIA's H100 SXM data sheet. The
speed of a TPU's link to its host is not published: 16 and 32 GB/s are those of PCIe 3 and 4.
Shares of the H100 were measured (bfloat16 matmuls of 8192^3: 802 TFLOP/s; cuDNN's packed
attention with heads of 128: 515 TFLOP/s forward, 342 backward). Shares of TPUs, of HBM and of links
are ASSUMED, because no TPU was there to measure. So are the clocks by which a TPU's compiler counts
cycles: the peak divided by what 4 (v5e, v6e) or 8 (v5p) units of 128 x 128 (v6e: 256 x 256)
multiply-adds do in a cycle.
"""

from typing import Any, NamedTuple

from videodit.goodput import PEAK_FLOPS
from videodit.sharding import GPU_MEMORY

GIB = 2**30


class Chip(NamedTuple):
    """One accelerator. Bytes, FLOP/s, bytes/s one way, seconds."""

    platform: str
    memory: float  # that a program may use
    peak: float = 0.0  # bfloat16 matmuls; 0: unknown
    matmuls: float = 0.0  # share of the peak that matmuls reach
    exact: float = 0.0  # share of the peak that matmuls in full float32 precision reach
    attention: tuple[float, float] = (0.0, 0.0)  # share that attention reaches: forward, backward
    bandwidth: float = 0.0  # of HBM
    streaming: float = 0.0  # share of it that kernels reach
    link: float = 0.0  # one link of a torus, or a GPU to the others of its node
    network: float = 0.0  # a chip to other slices, or a GPU to other nodes
    host: float = 0.0  # a chip to its host's memory
    wire: float = 0.0  # share of links, network and bus to the host that is reached
    launch: float = 0.0  # from one kernel to the next
    clock: float = 0.0  # cycles/s by which the compiler counts; 0: it does not


TPU: dict[str, Any] = {
    "platform": "tpu",
    "matmuls": 0.8,
    "exact": 0.8 / 6,  # six passes
    "attention": (0.5, 0.4),
    "streaming": 0.8,
    "wire": 0.8,
    "launch": 0.5e-6,
}
CHIPS = {
    "v5e": Chip(
        memory=15.75 * GIB,
        peak=PEAK_FLOPS["TPU v5 lite"],
        bandwidth=819e9,
        link=50e9,
        network=3.125e9,
        host=16e9,
        clock=1.5e9,
        **TPU,
    ),
    "v5p": Chip(
        memory=95 * GIB,
        peak=PEAK_FLOPS["TPU v5p"],
        bandwidth=2765e9,
        link=100e9,
        network=6.25e9,
        host=16e9,
        clock=1.75e9,
        **TPU,
    ),
    "v6e": Chip(
        memory=31.25 * GIB,
        peak=PEAK_FLOPS["TPU v6 lite"],
        bandwidth=1640e9,
        link=100e9,
        network=12.5e9,
        host=32e9,
        clock=1.75e9,
        **TPU,
    ),
    "h100": Chip(
        platform="cuda",
        memory=GPU_MEMORY * 79 * GIB,
        peak=PEAK_FLOPS["NVIDIA H100 80GB HBM3"],
        matmuls=802 / 989,
        exact=67 / 989,
        attention=(515 / 989, 342 / 989),
        bandwidth=3350e9,
        streaming=0.8,
        link=450e9,
        network=50e9,
        host=64e9,
        wire=0.8,
        launch=2e-6,
    ),
}
