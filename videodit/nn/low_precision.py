"""Matmuls in 8 bits, whose kernel gradients are in full precision (compute.matmul).

After SwitchBack (arXiv:2304.13013): the matmul and the gradient of its input are computed in 8
bits, with a scale for each token and for each column of the kernel. The kernel's gradient, a sum
over all tokens, is not. "fp8" has E4M3 values and E5M2 gradients (arXiv:2209.05433).
The library qwix is not used, because its trainable matmul is private and takes no sharding.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from videodit.sharding import spec


class Format(NamedTuple):
    """The dtypes of a matmul."""

    values: jnp.dtype
    gradients: jnp.dtype
    sums: jnp.dtype


FORMATS = {
    "int8": Format(jnp.int8, jnp.int8, jnp.int32),
    "fp8": Format(jnp.float8_e4m3fn, jnp.float8_e5m2, jnp.float32),
}


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def low_precision_matmul(x: jax.Array, kernel: jax.Array, matmul: str, names: tuple) -> jax.Array:
    """x (... i) times kernel (i o) in the dtype of x, computed as FORMATS[matmul] says.

    names: the logical axes of the result.
    """
    formats = FORMATS[matmul]
    x8, x_scale = quantised(x, -1, formats.values)
    kernel8, kernel_scale = quantised(kernel, 0, formats.values)
    y = jnp.einsum(
        "...i,io->...o",
        x8,
        kernel8,
        preferred_element_type=formats.sums,
        out_sharding=spec(*names),
    )
    return _rescaled(y, x_scale, kernel_scale[0]).astype(x.dtype)


def _forward(
    x: jax.Array, kernel: jax.Array, matmul: str, names: tuple
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return low_precision_matmul(x, kernel, matmul, names), (x, kernel)


def _backward(
    matmul: str, names: tuple, saved: tuple[jax.Array, jax.Array], gradient: jax.Array
) -> tuple[jax.Array, jax.Array]:
    x, kernel = saved
    formats = FORMATS[matmul]
    gradient8, gradient_scale = quantised(gradient, -1, formats.gradients)
    kernel8, kernel_scale = quantised(kernel, 1, formats.values)
    dx = jnp.einsum(
        "...o,io->...i",
        gradient8,
        kernel8,
        preferred_element_type=formats.sums,
        out_sharding=None if spec() is None else jax.typeof(x).sharding.spec,
    )
    full = lambda kernel: jnp.einsum("...i,io->...o", x, kernel, out_sharding=spec(*names))
    (dkernel,) = jax.vjp(full, kernel)[1](gradient)
    return _rescaled(dx, gradient_scale, kernel_scale[:, 0]).astype(x.dtype), dkernel


low_precision_matmul.defvjp(_forward, _backward)


def quantised(x: jax.Array, axis: int, dtype: Any) -> tuple[jax.Array, jax.Array]:
    """x / scale rounded to `dtype`, and the float32 scales along `axis`, which avoid overflow."""
    integer = jnp.issubdtype(dtype, jnp.integer)
    largest = float(jnp.iinfo(dtype).max if integer else jnp.finfo(dtype).max)
    x = x.astype(jnp.float32)
    greatest = jnp.abs(x).max(axis, keepdims=True)
    scale = jnp.where(greatest > 0, greatest / largest, 1)
    y = jnp.round(x / scale) if integer else x / scale
    return y.astype(dtype), scale


def _rescaled(y: jax.Array, rows: jax.Array, columns: jax.Array) -> jax.Array:
    """y (... o) times the scales of its rows (... 1) and of its columns (o), float32."""
    if spec() is not None:  # a kernel's columns may lie over more devices than the result's
        columns = jax.reshard(columns, jax.sharding.PartitionSpec(jax.typeof(y).sharding.spec[-1]))
    return y.astype(jnp.float32) * rows * columns
