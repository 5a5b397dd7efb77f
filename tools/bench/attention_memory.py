"""Memory that attention over packed rows needs on an absent accelerator, by compiling for it.

    python -m tools.bench.attention_memory --topology=v5p:2x2x1 --causal     # needs libtpu
    python -m tools.bench.attention_memory --topology=h100:1x1 --causal      # needs the CUDA plugin
    python -m tools.bench.attention_memory --topology=v5p:2x2x1 --ring=4     # ring attention

Compiles the forward pass alone, and forward and backward together, with each implementation of
nn/attention.py that such a device has. Temporaries are what a device needs beside q, k, v, their
ids, the output and the gradients. --segments promises how many clips a row has.
"""

from typing import Any

import jax
import jax.numpy as jnp
from absl import flags

from videodit.config import MeshConfig
from videodit.entry import run_command
from videodit.forecasting.topology import open_topology, use_no_accelerator
from videodit.nn.attention import attention
from videodit.nn.kernels import resolve
from videodit.nn.segments import Segments
from videodit.sharding import make_mesh, spec


def temporaries(implementation: str, heads: Any, ids: Any, most: int, causal: bool) -> list[int]:
    """Bytes a device needs for the forward pass, and for forward and backward together.

    heads: B L N H and ids: B L int32, shapes with shardings on the current mesh. most, causal: see
    nn/segments.py:Segments.
    """

    def forward(q: jax.Array, k: jax.Array, v: jax.Array, ids: jax.Array) -> jax.Array:
        return attention(q, k, v, Segments(ids, most=most, causal=causal), implementation)

    def both(
        q: jax.Array, k: jax.Array, v: jax.Array, ids: jax.Array, slope: jax.Array
    ) -> tuple[jax.Array, tuple[jax.Array, ...]]:
        y, pull = jax.vjp(lambda q, k, v: forward(q, k, v, ids), q, k, v)
        return y, pull(slope)

    lowered = (
        jax.jit(forward).lower(heads, heads, heads, ids),
        jax.jit(both).lower(heads, heads, heads, ids, heads),
    )
    analyses = [x.compile().memory_analysis() for x in lowered]
    return [x.temp_size_in_bytes if x else 0 for x in analyses]


def table(shape: tuple[int, int, int, int], dtype: Any, most: int, causal: bool) -> list[str]:
    """A line for each implementation on the current mesh; shape: B L N H."""
    mesh = jax.sharding.get_mesh()
    place = lambda *names: jax.NamedSharding(mesh, spec(*names) or jax.P())
    heads = jax.ShapeDtypeStruct(shape, dtype, sharding=place("batch", "length", "heads", None))
    ids = jax.ShapeDtypeStruct(shape[:2], jnp.int32, sharding=place("batch", "length"))
    lines = [f"{'bytes of temporaries':24}{'forward':>16}{'forward + backward':>20}"]
    for name in dict.fromkeys(["masked", "blocked", resolve("auto").implementation]):
        try:
            forward, both = temporaries(name, heads, ids, most, causal)
            lines.append(f"{name:24}{forward:16,}{both:20,}")
        except jax.errors.JaxRuntimeError as error:  # it does not fit
            lines.append(f"{name:24}{str(error).splitlines()[0][:90]}")
    return lines


def main(_: list[str]) -> None:
    """Runs the command line."""
    use_no_accelerator()
    asked, name = flags.FLAGS, flags.FLAGS.topology
    devices = open_topology(name).devices[: asked.ring]
    dtype = jnp.float32 if name.startswith("cpu") else jnp.bfloat16
    shape = asked.rows, asked.tokens, asked.heads, asked.head_size
    with jax.set_mesh(make_mesh(MeshConfig(data=1, ring=asked.ring), devices)):
        own, reason = resolve("auto")
        print(f"{name}, jax {jax.__version__}; auto is {own}, because {reason}")
        print(f"{shape[0]} x {shape[1]} tokens, {shape[2]} heads of {shape[3]}, {dtype.__name__}")
        for line in table(shape, dtype, asked.segments + 1, asked.causal):
            print(line, flush=True)


if __name__ == "__main__":
    flags.DEFINE_string("topology", "cpu:1", "as --topology of videodit.plan: v5p:2x2x1, h100:1x1")
    flags.DEFINE_integer("tokens", 16_384, "of a row")
    flags.DEFINE_integer("rows", 1, "rows")
    flags.DEFINE_integer("heads", 16, "heads")
    flags.DEFINE_integer("head_size", 128, "values of a head")
    flags.DEFINE_integer("segments", 64, "clips of a row, at most")
    flags.DEFINE_integer("ring", 1, "devices that a row is cut over")
    flags.DEFINE_bool("causal", False, "tokens see the earlier tokens of their clip only")
    run_command(main)
