import jax
import pytest

from videodit.config import ConfigError
from videodit.nn import cudnn, kernels, splash

H100 = "NVIDIA H100 80GB HBM3"


@pytest.mark.parametrize(
    "platform, kind, implementation, reason",
    [
        ("gpu", H100, "cudnn", "Hopper or newer"),
        ("gpu", "NVIDIA GH200 480GB", "cudnn", "Hopper or newer"),
        ("gpu", "NVIDIA B200", "cudnn", "Hopper or newer"),
        ("gpu", "NVIDIA A100-SXM4-80GB", "blocked", "needs a Hopper"),
        ("gpu", "NVIDIA GeForce RTX 4090", "blocked", "needs a Hopper"),
        ("tpu", "TPU v5 lite", "splash", "is a TPU"),
        ("tpu", "TPU v6 lite", "splash", "is a TPU"),
        ("cpu", "cpu", "blocked", "no kernel is known for a cpu"),
    ],
)
def test_each_platform_has_its_kernel(platform, kind, implementation, reason):
    choice = kernels.choose(platform, kind)
    assert choice.implementation == implementation
    assert reason in choice.reason


@pytest.mark.parametrize("adapter, device", [(cudnn, ("gpu", H100)), (splash, ("tpu", "TPU v5"))])
def test_a_jax_that_an_adapter_does_not_know_is_not_used(monkeypatch, adapter, device):
    monkeypatch.setattr(adapter, "KNOWN", ((0, 1, 0), (0, 2, 0)))
    choice = kernels.choose(*device)
    assert choice.implementation == "blocked"
    assert f"of jax 0.1.0 to 0.2.0, not of {jax.__version__}" in choice.reason


def test_the_mesh_says_for_which_device_a_program_is_compiled():
    device = jax.sharding.AbstractDevice(device_kind="TPU v6 lite", num_cores=1, platform="tpu")
    mesh = jax.sharding.AbstractMesh((2,), ("data",), abstract_device=device)
    assert kernels.resolve("auto").implementation == "blocked"
    with jax.sharding.use_abstract_mesh(mesh):
        assert kernels.resolve("auto").implementation == "splash"
        assert kernels.resolve("masked").implementation == "masked"
        with pytest.raises(ConfigError, match="'cudnn': needs a gpu, not TPU v6 lite"):
            kernels.resolve("cudnn")


def test_an_unknown_implementation_is_named():
    with pytest.raises(ConfigError, match="did you mean 'splash'"):
        kernels.resolve("splach")
