"""Looking a model's size up in its table."""

from videodit.config import ConfigError, nearest
from videodit.nn.block import StackShape, check_shape


def lookup(field: str, size: str, sizes: dict[str, StackShape]) -> StackShape:
    """`sizes[size]`; raises ConfigError for an unknown size (and names the nearest) and for one
    that the current mesh cannot share out.
    """
    if size not in sizes:
        raise ConfigError(f"unknown {field}={size!r}: {nearest(size, sizes)}")
    check_shape(sizes[size])
    return sizes[size]
