import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from videodit.config import MeshConfig
from videodit.forecasting.hlo import parse
from videodit.forecasting.work import device_groups, mesh_axes, traffic, work
from videodit.sharding import make_mesh


def compiled_work(function, *arguments, mesh=None):
    text = jax.jit(function).lower(*arguments).compile().as_text()
    return work(parse(text), mesh or make_mesh(MeshConfig(data=1), jax.devices()[:1]))


def test_products_in_a_loop_are_counted_each_time():
    def step(x, kernels):
        return jax.lax.scan(lambda x, w: (jnp.tanh(x @ w), None), x, kernels)[0]

    found = compiled_work(step, jnp.zeros((32, 64)), jnp.zeros((5, 64, 64)))
    assert found.flops == 5 * 2 * 32 * 64 * 64


def test_a_convolution_counts_the_places_inside_of_the_picture():
    x, kernel = jnp.zeros((2, 8, 8, 3)), jnp.zeros((3, 3, 3, 5))
    convolve = lambda x, k: jax.lax.conv_general_dilated(
        x, k, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    line = 3 * 8 - 2  # of 3 places at 8 outputs, one is outside at each end
    assert compiled_work(convolve, x, kernel).flops == 2 * 2 * line**2 * 3 * 5


def test_a_loop_reads_the_slice_of_what_it_goes_through_and_not_the_whole():
    def step(x, rows):
        return jax.lax.scan(lambda x, row: (jnp.sin(x) + row, None), x, rows)[0]

    steps, width = 16, 4096
    found = compiled_work(step, jnp.zeros(width), jnp.zeros((steps, width)))
    least = steps * 3 * 4 * width  # reads the state and a row, writes the state
    assert least <= found.bytes < 2 * least


TPU_COPIES = """HloModule m

ENTRY %main (p: bf16[1024]) -> bf16[1024] {
  %p = bf16[1024]{0:T(1024)} parameter(0)
  %a = ((bf16[1024]{0:T(1024)}), bf16[256]{0:T(256)S(1)}, s32[]) slice-start(%p), slice={[0:256]}
  %b = bf16[256]{0:T(256)S(1)} slice-done(%a)
  %c = (bf16[1024]{0:T(1024)S(1)}, bf16[1024]{0:T(1024)}, u32[]) copy-start(%p)
  ROOT %d = bf16[1024]{0:T(1024)S(1)} copy-done(%c)
}
"""


def test_a_copy_to_the_chips_own_memory_reads_what_it_takes_and_runs_beside():
    found = work(parse(TPU_COPIES), make_mesh(MeshConfig(data=1), jax.devices()[:1]))
    assert sorted(kernel.bytes for kernel in found.kernels) == [2 * 256, 2 * 1024]
    assert all(kernel.beside for kernel in found.kernels)


HOST_MEMORY = """HloModule m

%add (x: f32[16], y: f32[16]) -> (f32[16], f32[16]) {
  %x = f32[16]{0} parameter(0)
  %y = f32[16]{0} parameter(1)
  %z = f32[16]{0} add(%x, %y)
  ROOT %both = (f32[16]{0}, f32[16]{0}) tuple(%z, %z)
}

ENTRY %main (p: f32[16], q: f32[64]) -> (f32[16], f32[16], f32[64]) {
  %p = f32[16]{0:S(5)} parameter(0)
  %q = f32[64]{0:S(5)} parameter(1)
  %a = (f32[16]{0}, f32[16]{0:S(5)}, u32[]) copy-start(%p)
  %b = f32[16]{0} copy-done(%a)
  %c = (f32[16]{0}, f32[16]{0:S(5)}) fusion(%p, %b), kind=kLoop, calls=%add
  ROOT %d = (f32[16]{0}, f32[16]{0:S(5)}, f32[64]{0:S(5)}) tuple(%c, %c, %q)
}
"""


def test_what_is_read_from_and_written_to_the_hosts_memory():
    found = work(parse(HOST_MEMORY), make_mesh(MeshConfig(data=1), jax.devices()[:1]))
    copied, added = sorted(found.kernels, key=lambda kernel: kernel.host_bytes)
    assert (copied.bytes, copied.host_bytes) == (64, 64) and copied.beside
    assert (added.bytes, added.host_bytes) == (2 * 64, 2 * 64) and not added.beside


TPU_FUSIONS = """HloModule m

%inner (i: bf16[28,64], j: s32[]) -> bf16[1,64] {
  %i = bf16[28,64]{1,0} parameter(0)
  %j = s32[] parameter(1)
  %zero = s32[] constant(0)
  ROOT %slice = bf16[1,64]{1,0} dynamic-slice(%i, %j, %zero), dynamic_slice_sizes={1,64}
}

%outer (a: bf16[28,64], b: s32[], c: bf16[4]) -> (bf16[1,64], bf16[4], bf16[8]) {
  %a = bf16[28,64]{1,0} parameter(0)
  %b = s32[] parameter(1)
  %c = bf16[4]{0} parameter(2)
  %one = bf16[1,64]{1,0} fusion(%a, %b), kind=kLoop, calls=%inner
  %y = bf16[1,64]{1,0} negate(%one)
  %g = bf16[8]{0} all-gather(%c), replica_groups={{0,1}}, frontend_attributes={chain_id="3"}
  ROOT %t = (bf16[1,64]{1,0}, bf16[4]{0}, bf16[8]{0}) tuple(%y, %c, %g)
}

ENTRY %main (x: bf16[28,64], n: s32[], p: bf16[4]) -> bf16[4] {
  %x = bf16[28,64]{1,0} parameter(0)
  %n = s32[] parameter(1)
  %p = bf16[4]{0} parameter(2)
  %f = (bf16[1,64]{1,0}, bf16[4]{0}, bf16[8]{0}) fusion(%x, %n, %p), kind=kOutput, calls=%outer
  %e = (bf16[1,64]{1,0}, bf16[4]{0}, bf16[8]{0}) fusion(%x, %n, %p), kind=kOutput, calls=%outer
}
"""


def test_a_fusion_inside_of_one_reads_a_slice_and_what_passes_through_moves_nothing():
    program = parse(TPU_FUSIONS)
    main = program.computations["main"]
    moved = traffic(main["f"], main, program.fused(main["f"]))
    assert moved == 2 * 64 + 4 + 2 * 64 + 2 * 8  # a slice, its place, what is made, what arrives


def test_a_collective_that_goes_on_in_several_fusions_counts_once():
    mesh = make_mesh(MeshConfig(data=2), jax.devices()[:2])
    found = work(parse(TPU_FUSIONS), mesh)
    assert [x.times for x in found.collectives] == [1]
    assert not found.kernels  # neither part is one
    call = "  %h = bf16[4] call(%x, %n, %p), to_apply=%main\n}"
    twice = TPU_FUSIONS.replace("ENTRY %main", "%main") + (
        "\nENTRY %all (x: bf16[28,64], n: s32[], p: bf16[4]) -> bf16[4] {\n"
        + TPU_FUSIONS.split("-> bf16[4] {\n")[-1].removesuffix("}\n")
        + call
    )
    # Another computation's chain of the same name is another.
    assert [x.times for x in work(parse(twice), mesh).collectives] == [2]


@pytest.mark.parametrize("dtype, exact", [("f32", True), ("bf16", False)])
def test_only_float32_has_products_of_full_precision(dtype, exact):
    text = f"""ENTRY %main (p: {dtype}[8,8]) -> f32[8,8] {{
  %p = {dtype}[8,8]{{1,0}} parameter(0)
  ROOT %y = f32[8,8]{{1,0}} dot(%p, %p), lhs_contracting_dims={{1}}, operand_precision={{highest}}
}}
"""
    found = work(parse(text), make_mesh(MeshConfig(data=1), jax.devices()[:1]))
    assert [kernel.exact for kernel in found.kernels] == [exact]


@pytest.mark.parametrize(
    "attributes, groups",
    [
        ("replica_groups={{0,2},{1,3}}, x", [[0, 2], [1, 3]]),
        ("replica_groups=[2,2]<=[2,2]T(1,0), x", [[0, 2], [1, 3]]),
        ("replica_groups=[2,2]<=[4]", [[0, 1], [2, 3]]),
        ("replica_groups=mesh['a'=2,'b'=2] {'a'}", [[0, 2], [1, 3]]),
        ("replica_groups=mesh['a'=2,'b'=2], device_ids=([2,2]T(1,0)) {'a'}", [[0, 1], [2, 3]]),
        ("replica_groups=mesh['a'=4] {'a':(2)2}", [[0, 1], [2, 3]]),
        ("source_target_pairs={{0,1},{1,0}}", [[0, 1], [1, 0]]),
        ("no groups", [[0, 1, 2, 3]]),
    ],
)
def test_groups_of_devices_are_read_in_every_notation(attributes, groups):
    assert sorted(device_groups(attributes, 4)) == groups


def test_the_axes_of_a_group_are_those_along_which_its_devices_differ():
    mesh = make_mesh(MeshConfig(data=2, fsdp=2, context=2))
    assert mesh_axes([[0, 4], [1, 5]], mesh) == ("data",)
    assert mesh_axes([[0, 1, 2, 3]], mesh) == ("fsdp", "context")
    assert mesh_axes([[0]], mesh) == ()


def test_exchanges_are_counted_by_axis_and_bytes():
    mesh = make_mesh(MeshConfig(data=2, fsdp=4))
    place = lambda shape, *axes: jax.device_put(
        np.ones(shape, np.float32), NamedSharding(mesh, PartitionSpec(*axes))
    )
    x, w = place((8, 64), "data", None), place((64, 32), "fsdp", None)

    def step(x, w):
        return x.sum(0), jax.reshard(w, PartitionSpec())

    with jax.set_mesh(mesh):
        found = compiled_work(step, x, w, mesh=mesh).collectives
    sizes = {(c.kind, c.axes, c.ways): c.times * c.bytes for c in found}
    assert sizes == {
        ("all-gather", ("fsdp",), 4): 4 * 64 * 32,
        ("all-reduce", ("data",), 2): 4 * 64,
    }
