from types import SimpleNamespace

import numpy as np
import pytest

from videodit.forecasting.chips import Chip
from videodit.forecasting.roofline import bandwidth, exchange_seconds, kernel_seconds, predict
from videodit.forecasting.work import Collective, Kernel, Work

CHIP = Chip(
    platform="tpu",
    memory=1e9,
    peak=100.0,
    matmuls=0.5,
    exact=0.1,
    attention=(0.4, 0.2),
    bandwidth=10.0,
    streaming=0.5,
    link=2.0,
    network=0.25,
    host=0.5,
    wire=1.0,
    clock=20.0,
)


def torus(*, slices=1):
    """A mesh data x fsdp x tensor over a 4 x 2 torus (or several): fsdp is its first dimension."""
    devices = np.empty((slices, 4, 2), object)
    for (s, x, y), _ in np.ndenumerate(devices):
        devices[s, x, y] = SimpleNamespace(coords=(x, y, 0), slice_index=s)
    names = ("data", "fsdp", "tensor")
    return SimpleNamespace(axis_names=names, devices=devices, shape=dict(zip(names, devices.shape)))


def kernel(flops=0.0, moved=0.0, host=0.0, times=1.0, **others):
    fields = {"exact": False, "attention": "", "beside": False, "cycles": 0.0} | others
    return Kernel(flops, moved, host, times=times, **fields)


@pytest.mark.parametrize(
    "launch, seconds",
    [
        (kernel(flops=100, moved=1), 2.0),
        (kernel(flops=100, moved=50), 10.0),
        (kernel(flops=100, exact=True), 10.0),
        (kernel(flops=100, attention="backward"), 5.0),
        (kernel(moved=5), 1.0),
        (kernel(flops=100, moved=5, cycles=60), 3.0),
    ],
)
def test_a_kernel_takes_the_longer_of_arithmetic_and_traffic(launch, seconds):
    assert kernel_seconds(launch, CHIP) == pytest.approx(seconds)


def test_links_of_a_torus_and_the_network_between_slices():
    assert bandwidth(("fsdp",), CHIP, torus()) == 2 * 2.0
    assert bandwidth(("fsdp", "tensor"), CHIP, torus()) == 2 * 2.0 * 2
    assert bandwidth(("data",), CHIP, torus(slices=2)) == 0.25
    assert bandwidth(("data", "fsdp"), CHIP, torus(slices=2)) == 0.25 * 4


@pytest.mark.parametrize("kind, sent", [("all-gather", 3 / 4), ("all-reduce", 3 / 2)])
def test_what_a_device_sends(kind, sent):
    exchange = Collective(kind, ("fsdp",), 4, 80.0, 2.0)
    assert exchange_seconds(exchange, CHIP, torus()) == pytest.approx(2 * 80 * sent / 4)


def test_parameters_are_gathered_beside_the_kernels_and_heads_are_waited_for():
    kernels = (kernel(flops=100), kernel(moved=5, times=3.0))
    gather = Collective("all-gather", ("fsdp",), 4, 80.0, 1.0)
    share_heads = Collective("all-gather", ("tensor",), 2, 8.0, 1.0)
    times = predict(Work(kernels, (gather, share_heads)), CHIP, torus())
    assert times == pytest.approx((2.0, 0.0, 3.0, 3.0, 15.0, 1.0, 0.0))
    assert times.step == pytest.approx(15.0 + 1.0)
    assert predict(Work(kernels, ()), CHIP, torus()).step == pytest.approx(5.0)


def test_the_hosts_memory_is_waited_for():
    load = kernel(moved=5, host=5, beside=True)
    times = predict(Work((kernel(flops=100), load), ()), CHIP, torus())
    assert (times.host, times.step) == pytest.approx((10.0, 2.0 + 10.0))


def test_a_copy_beside_the_kernels_takes_no_time_but_of_the_memory():
    kernels = (kernel(flops=100), kernel(moved=5), kernel(moved=7, beside=True))
    times = predict(Work(kernels, ()), CHIP, torus())
    assert (times.memory, times.hbm) == pytest.approx((1.0, 12 / 5))
    assert times.step == pytest.approx(3.0)
    many = Work((*kernels, kernel(moved=5, beside=True, times=10.0)), ())
    assert predict(many, CHIP, torus()).step == pytest.approx(62 / 5)
