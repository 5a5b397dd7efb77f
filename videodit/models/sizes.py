"""Looking a model's size up in its table."""

from videodit.config import ConfigError, nearest
from videodit.nn.block import StackShape


def lookup(field: str, size: str, sizes: dict[str, StackShape]) -> StackShape:
    """`sizes[size]`; raises ConfigError that names the config field and the nearest known size."""
    if size not in sizes:
        raise ConfigError(f"unknown {field}={size!r}: {nearest(size, sizes)}")
    return sizes[size]
