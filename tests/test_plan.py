import os
import subprocess
import sys

import jax
import numpy as np
import pytest
from packs import tiny_config

from videodit import plan
from videodit.checkpoint import write_run
from videodit.config import ConfigError, ModeWeights
from videodit.data.sources.source import open_tokenizer
from videodit.forecasting.ahead import lower_step
from videodit.optim import make_optimizer, make_schedule
from videodit.sharding import make_mesh
from videodit.step import make_init
from videodit.tasks.autoencoder import AutoencoderTask
from videodit.tasks.resolve import resolve_elsewhere


@pytest.fixture(scope="module")
def figures():
    cfg = tiny_config("autoencoder", mesh__data=1, mesh__fsdp=2)
    return cfg, plan.plan(cfg, "cpu:2").figures()


def test_bytes_of_a_chip_are_those_that_a_device_holds(figures):
    cfg, found = figures
    with jax.set_mesh(make_mesh(cfg.mesh)):
        task = AutoencoderTask(cfg)
        schedule = make_schedule(cfg.optim, cfg.steps)
        optimizer = make_optimizer(cfg.optim, schedule, task.groups)
        pca = {
            "mean": np.zeros(768, np.float32),
            "components": np.zeros((768, 16), np.float32),
            "stds": np.ones(16, np.float32),
        }
        frozen = {"pca": pca, "features": {}}
        state = jax.jit(make_init(task, optimizer))(jax.random.key(0), frozen)
    held = lambda tree: sum(x.addressable_shards[0].data.nbytes for x in jax.tree.leaves(tree))
    assert found["bytes"]["parameters"] == held(state["params"]) == found["bytes"]["average"]
    assert found["bytes"]["optimizer"] == held(state["opt"])


def test_the_batch_is_shared_out_over_the_rows(figures):
    cfg, found = figures
    pixels = cfg.data.row_tokens * 768 * cfg.data.batch_rows // 2
    assert pixels < found["bytes"]["batch"] < 1.5 * pixels
    assert found["fits"] and found["bytes"]["temporaries"] > 0
    assert "fits" in plan.describe(found)


def test_what_does_not_fit_is_said(figures):
    _, found = figures
    small = dict(found, bytes_of_chip=found["bytes_total"] - plan.GIB, fits=False)
    assert "does not fit by 1.00 GiB" in plan.describe(small)


def test_the_exchanges_of_a_step_are_said(figures):
    _, found = figures
    gathered = [x for x in found["collectives"] if x["kind"] == "all-gather"]
    assert [(x["axes"], x["ways"]) for x in gathered] == [(("fsdp",), 2)]
    assert "all-gather          fsdp" in plan.describe(found)


def test_a_run_is_planned_with_its_trained_autoencoder_and_stored_latents(tmp_path):
    tokenizer = open_tokenizer("synthetic")
    trained = tiny_config("autoencoder", autoencoder__channels=6, autoencoder__patch=(4, 16, 8))
    write_run(tmp_path, trained, tokenizer)
    stored = {"data__latents": "latents", "data__modes": vars(ModeWeights(generate=1))}
    cfg = resolve_elsewhere(tiny_config(autoencoder__workdir=str(tmp_path), **stored))
    assert (cfg.autoencoder.channels, cfg.autoencoder.patch) == (6, (4, 16, 8))
    _, (_, frozen, batch) = lower_step(cfg, make_mesh(cfg.mesh), tokenizer)
    assert batch.tokens.shape == (cfg.data.batch_rows, cfg.data.row_tokens, 6)
    assert batch.tokens.dtype == np.float32 and frozen["mean"].shape == (6,)


def test_the_command_makes_the_cpu_devices_that_it_plans_for():
    code = """from videodit import plan
from videodit.forecasting.topology import open_topology
plan._make_cpu_devices("cpu:3")
print(len(open_topology("cpu:3").devices))
"""
    environment = {k: v for k, v in os.environ.items() if k != "JAX_NUM_CPU_DEVICES"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "3"


@pytest.mark.parametrize("name, library", [("v5p:2x2x1", "libtpu"), ("h100:1x8", "jax_cuda12")])
def test_a_missing_library_is_named(monkeypatch, name, library):
    def fail(*_, **__):
        raise RuntimeError("many\nlines")

    monkeypatch.setattr("videodit.forecasting.topology._devices", fail)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    extra = "tpu" if library == "libtpu" else "cuda"
    with pytest.raises(ConfigError, match=rf"needs {library}.*: pip install -e '.\[{extra}\]'$"):
        plan.plan(tiny_config("autoencoder"), name)


@pytest.mark.parametrize(
    "name, message",
    [
        ("v5q:2x2", "did you mean 'v5"),
        ("cpu:9999", "expected cpu:N with N from 1 to 512"),
        ("cpu:0", "expected cpu:N with N from 1 to 512"),
        ("v5e:16", r"expected v5e:AxB or AxBxC chips"),
        ("h100:8", "expected h100:NODESxGPUS"),
        ("h100:0x8", "expected h100:NODESxGPUS"),
        ("v5e:16x16*0", "N for N slices"),
    ],
)
def test_an_unknown_topology_is_named(name, message):
    with pytest.raises(ConfigError, match=message):
        plan.plan(tiny_config("autoencoder"), name)
