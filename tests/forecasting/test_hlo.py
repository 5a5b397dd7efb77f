import jax
import jax.numpy as jnp
import pytest

from videodit.config import MeshConfig
from videodit.forecasting.hlo import parse
from videodit.forecasting.work import work
from videodit.sharding import make_mesh

TEXT = """HloModule m, entry_computation_layout={()->f32[]}

%add (a: f32[], b: f32[]) -> f32[] {
  %a = f32[] parameter(0)
  %b = f32[] parameter(1)
  ROOT %sum = f32[] add(%a, %b)
}

%body (s: (s32[], bf16[4,8])) -> (s32[], bf16[4,8]) {
  %s = (s32[], /*index=1*/bf16[4,8]{1,0:T(8,128)(2,1)S(1)}) parameter(0)
  %x = bf16[4,8]{1,0:T(8,128)(2,1)S(1)} get-tuple-element(%s), index=1
  %y = bf16[4,8]{1,0} negate(%x)
  ROOT %t = (s32[], bf16[4,8]{1,0}) tuple(%i, %y)
}

%condition (s: (s32[], bf16[4,8])) -> pred[] {
  %s.1 = (s32[], bf16[4,8]{1,0}) parameter(0)
  %bound = s32[] constant(7)
  ROOT %less = pred[] compare(%i.1, %bound), direction=LT
}

ENTRY %main (p: f32[]) -> f32[] {
  %p = f32[] parameter(0)
  %loop = (s32[], bf16[4,8]{1,0}) while(%init), condition=%condition, body=%body
  %again = s32[] while(%init), body=%body, backend_config={"known_trip_count":{"n":"3"}}
  ROOT %out = f32[] call(%p, %p), to_apply=%add
}
"""


def how_often(program, opcode, seen=1.0):
    return sum(times for x, _, times in program.instructions(seen) if x.opcode == opcode)


def test_loops_count_as_often_as_they_run():
    program = parse(TEXT)
    assert how_often(program, "negate") == 7 + 3
    assert how_often(program, "add") == 1


def test_types_are_read_with_their_memory_space():
    body = parse(TEXT).computations["body"]
    assert [x.space for x in body["s"].outputs] == [0, 1]
    assert body["y"].outputs[0].dims == (4, 8) and body["y"].outputs[0].bytes == 64
    assert body["y"].operands == ("x",) and body["t"].root


@pytest.mark.parametrize("seen", [1.0, 0.25])
def test_a_loop_whose_bounds_are_data_goes_through_what_is_seen_of_its_mask(seen):
    def step(x, mask, first, end):
        def block(i, x):
            work = lambda x: jnp.sort(x @ x)  # neither is fused away
            return jax.lax.cond(mask[i], work, lambda x: x, x)

        outer = lambda x, _: (jax.lax.fori_loop(first, end, block, x), None)
        return jax.lax.scan(outer, x, None, length=3)[0]

    arguments = jnp.zeros((64, 64)), jnp.zeros(8, bool), 0, 8
    text = jax.jit(step).lower(*arguments).compile().as_text()
    assert how_often(parse(text), "sort", seen) == 3 * 8 * seen


def test_a_kernel_of_attention_is_preferred_to_what_stands_in_for_it():
    text = """HloModule m
%kernel (p: f32[4]) -> f32[4] {
  %p.1 = f32[4]{0} parameter(0)
  ROOT %run = f32[4]{0} custom-call(%p.1), custom_call_target="__cudnn$fmhaSoftmax"
}
%plain (p: f32[4]) -> f32[4] {
  %p.2 = f32[4]{0} parameter(0)
  %a = f32[4]{0} negate(%p.2)
  ROOT %b = f32[4]{0} negate(%a)
}
ENTRY %main (p: f32[4]) -> f32[4] {
  %p.3 = f32[4]{0} parameter(0)
  ROOT %c = f32[4]{0} conditional(%i, %p.3, %p.3), branch_computations={%plain, %kernel}
}
"""
    program = parse(text)
    assert how_often(program, "custom-call") == 1 and how_often(program, "negate") == 0


SPLASH = """HloModule m
ENTRY %main (q: bf16[2,64,16], k: bf16[2,32,16]) -> bf16[2,32,16] {
  %q = bf16[2,64,16]{2,1,0} parameter(0)
  %k = bf16[2,32,16]{2,1,0} parameter(1)
  %first = bf16[2,64,16]{2,1,0} custom-call(%q, %k, %k), custom_call_target="tpu_custom_call", \
frontend_attributes={kernel_metadata={
"xprof_metadata":"{}"
}}, metadata={op_name="jit(f)/splash_mha_fwd/pallas_call"}, backend_config={"body":"TU_dq_TA"}
  %dq = bf16[2,64,16]{2,1,0} custom-call(%q, %k, %k), custom_call_target="tpu_custom_call", \
metadata={op_name="jit(f)/transpose(jvp())/splash_mha_dq_no_residuals/pallas_call"}
  %dkv = bf16[2,32,16]{2,1,0} custom-call(%q, %k, %k), custom_call_target="tpu_custom_call", \
metadata={op_name="jit(f)/transpose(jvp())/splash_mha_dkv_no_residuals/pallas_call"}
  ROOT %other = bf16[2,32,16]{2,1,0} custom-call(%k), custom_call_target="tpu_custom_call", \
metadata={op_name="jit(f)/another/pallas_call"}, backend_config={"body":"TU_fmha_TA"}
}
"""


def test_splash_sees_each_row_of_several_that_are_joined():
    """Two rows of 64 queries and 32 keys: blocks of 16 x 8, four by four of them in a row."""
    q, k = "bf16[2,128,16]{2,1,0}", "bf16[2,64,16]{2,1,0}"
    metadata = r"""frontend_attributes={kernel_metadata={
"xprof_metadata":"{\"block_q_dkv\": 16, \"block_kv_dkv\": 8, \"block_kv_dkv_compute\": 4}"
}}"""
    program = f"""HloModule m
ENTRY %main (l: s32[1,4,8], q: bf16[2,128,16], k: bf16[2,64,16]) -> bf16[2,64,16] {{
  %l = s32[1,4,8]{{2,1,0}} parameter(0)
  %q = {q} parameter(1)
  %k = {k} parameter(2)
  ROOT %dkv = {k} custom-call(%l, %l, %q, %k, %k), custom_call_target="tpu_custom_call", \
{metadata}, metadata={{op_name="jit(f)/transpose(jvp())/splash_mha_dkv_no_residuals/pallas_call"}}
}}
"""
    mesh = make_mesh(MeshConfig(data=1), jax.devices()[:1])
    (kernel,) = work(parse(program), mesh).kernels
    assert kernel.flops == 4 * 2 * (2 * 64 * 32 * 16) * 2  # dkv, multiply-add, a row, rows


def test_splash_is_known_by_its_name_whose_lines_are_broken_and_never_by_its_code():
    mesh = make_mesh(MeshConfig(data=1), jax.devices()[:1])
    kernels = work(parse(SPLASH), mesh).kernels
    product = 2 * 2 * 64 * 32 * 16  # heads, queries, keys, values of a head
    found = sorted((x.attention, x.flops) for x in kernels)
    assert found == [
        ("", 0),
        ("backward", 3 * product),
        ("backward", 4 * product),
        ("forward", 2 * product),
    ]
