"""Bytes of a train step before it runs."""

from types import SimpleNamespace

import jax.numpy as jnp
import pytest
from packs import tiny_config

from videodit.forecasting.ahead import compile_step
from videodit.sharding import abstract, spec


@pytest.mark.parametrize("memory, expected", [("device", 2 * 64 * 4 // 8), ("host", 0)])
def test_an_optimizer_that_waits_with_the_host_takes_no_memory_of_a_chip(mesh, memory, expected):
    def make():
        kernel = jnp.zeros((64,), out_sharding=spec("embed"))
        return {"params": kernel, "opt": (kernel, kernel), "ema": kernel}

    def compiled(compiler_options):
        return SimpleNamespace(memory_analysis=lambda: SimpleNamespace(temp_size_in_bytes=7))

    with mesh(fsdp=8):
        state = abstract(make)
    cfg = tiny_config(optim__memory=memory)
    _, found = compile_step(cfg, SimpleNamespace(compile=compiled), (state, {}, {}))
    assert (found.parameters, found.optimizer, found.temporaries) == (64 * 4 // 8, expected, 7)
