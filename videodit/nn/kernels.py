"""A table of the attention kernels that each platform has, by the names of the device alone."""

from typing import NamedTuple

from videodit.config import ConfigError, nearest
from videodit.nn import cudnn, splash
from videodit.sharding import target_device

AUTO = "auto"
NAMES = ("masked", "blocked", "cudnn", "splash")  # nn/attention.py
PLATFORMS = {"cudnn": "gpu", "splash": "tpu"}  # of those that do not run everywhere


class Choice(NamedTuple):
    """An implementation of attention, and why it is the one."""

    implementation: str
    reason: str


def choose(platform: str, kind: str) -> Choice:
    """The fastest implementation on a device, by its platform ("tpu") and kind ("TPU v5p")."""
    if platform == "tpu":
        missing = splash.missing()
        return Choice("blocked", missing) if missing else Choice("splash", f"{kind} is a TPU")
    if platform != "gpu":
        return Choice("blocked", f"no kernel is known for a {platform}")
    if not cudnn.is_hopper_or_newer(kind):
        return Choice("blocked", f"cuDNN's packed layout needs a Hopper or newer, not {kind}")
    missing = cudnn.missing()
    return Choice("blocked", missing) if missing else Choice("cudnn", f"{kind} is Hopper or newer")


def resolve(name: str) -> Choice:
    """The choice for compute.attention=`name` on the current mesh, else on the default device.

    Raises ConfigError for an unknown name, and for one that is of another platform.
    """
    if name not in (AUTO, *NAMES):
        hint = nearest(name, (AUTO, *NAMES))
        raise ConfigError(f"unknown attention implementation compute.attention={name!r}: {hint}")
    device = target_device()
    if name == AUTO:
        return choose(device.platform, device.device_kind)
    needed = PLATFORMS.get(name, device.platform)
    if device.platform != needed:
        raise ConfigError(
            f"compute.attention={name!r}: needs a {needed}, not {device.device_kind}; "
            f"expected {AUTO!r}, 'blocked' or 'masked'"
        )
    return Choice(name, "the config says so")
