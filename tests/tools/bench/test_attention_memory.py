import re

import jax.numpy as jnp

from tools.bench import attention_memory


def test_blocks_need_less_memory_than_all_logits_at_once(mesh):
    with mesh():
        lines = attention_memory.table((1, 2048, 2, 16), jnp.float32, most=9, causal=True)
    figures = {
        line.split()[0]: [int(x.replace(",", "")) for x in line.split()[1:]] for line in lines[1:]
    }
    assert set(figures) == {"masked", "blocked"} and re.search("forward", lines[0])
    logits = 2 * 2048 * 2048 * 4
    for masked, blocked in zip(figures["masked"], figures["blocked"]):
        assert masked >= logits > 2 * blocked
