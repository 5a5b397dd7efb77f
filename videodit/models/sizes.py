"""Looks up a model's size in its table."""

from videodit.config import ConfigError, nearest
from videodit.nn.block import StackShape, check_shape


def lookup(field: str, size: str, sizes: dict[str, StackShape]) -> StackShape:
    """The shape of the stack of this size.

    `field`: the config field that holds the size. Raises ConfigError for an unknown size, naming
    the most similar one, and for a size that the current mesh cannot shard.
    """
    shape = named_size(field, size, sizes)
    check_shape(shape)
    return shape


def named_size(field: str, size: str, sizes: dict[str, StackShape]) -> StackShape:
    """As `lookup`, on whatever mesh: the shape need not divide."""
    if size not in sizes:
        raise ConfigError(f"unknown {field}={size!r}: {nearest(size, sizes)}")
    return sizes[size]
