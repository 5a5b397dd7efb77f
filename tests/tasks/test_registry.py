"""A task that is registered by one file trains, resumes, is planned and counted like the others."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from packs import clip, pack, tiny_config
from toy_task import ToyConfig, ToyTask, toy

from videodit import plan
from videodit.config import (
    ConfigError,
    TaskConfig,
    defaults,
    from_saved,
    to_json,
)
from videodit.config.renamed import RENAMED
from videodit.data.sources.source import open_tokenizer
from videodit.flops import Clips
from videodit.generate import generate
from videodit.metrics import read_metrics
from videodit.preemption import Preempted, Preemption
from videodit.tasks.registry import make_task, register
from videodit.train import train

CLIPS = Clips(np.array([[3, 4, 4], [1, 8, 8]]), np.array([48, 40]), np.array([3, 4]))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a finished run, and its state."""
    folder = tmp_path_factory.mktemp("toy")
    return folder, jax.device_get(train(toy(), folder))


def test_a_task_trains(run):
    folder, state = run
    assert int(state["step"]) == 4
    assert set(state["params"]) == {"coder", "probe"} and set(state["ema"]) == {"coder"}
    lines = list(read_metrics(folder))
    errors = [line["error"] for line in lines if line["kind"] == "eval"]
    assert len(errors) == 2 and errors[1] < errors[0]
    assert {"probe", "flops_saved"} < set(lines[1])


def with_old_names(text):
    """A config.json as versions before the renaming wrote it."""
    values = json.loads(text)
    for old, new in RENAMED.items():
        section, name = new.split(".")
        values[section][old.split(".")[1]] = values[section].pop(name)
    return json.dumps(values)


def test_a_task_resumes_to_the_bit_also_a_run_of_an_older_version(run, tmp_path, monkeypatch):
    monkeypatch.setattr(Preemption, "reached", lambda self, step: step == 2)
    with pytest.raises(Preempted, match="saved after step 2"):
        train(toy(), tmp_path)
    monkeypatch.undo()
    path = tmp_path / "config.json"
    path.write_text(with_old_names(path.read_text()))
    resumed = train(toy(), tmp_path)
    jax.tree.map(np.testing.assert_array_equal, run[1], jax.device_get(resumed))
    assert path.read_text() == (run[0] / "config.json").read_text()


def test_a_checkpoint_of_another_section_is_refused(run):
    with pytest.raises(ConfigError, match=r"another config .*: toy\.width: 8, 4"):
        train(toy(toy__width=4), run[0])


def test_a_task_is_planned():
    found = plan.plan(toy(mesh__fsdp=2), "cpu:2").figures()
    values, width = 768, 8
    parameters = 2 * values * width + values + width + width  # two matrices, biases, the probe
    assert found["parameters"] == parameters
    assert found["bytes"]["frozen"] == 4 * values
    assert found["bytes"]["average"] == found["bytes"]["parameters"] - 4 * width  # no probe
    assert found["fits"] and found["flops_per_token"] == 3 * 2 * (2 * values * width)


def test_the_flops_of_a_task_are_counted():
    task = make_task(toy(toy__width=16), open_tokenizer("synthetic"))
    assert task.flops(CLIPS, 0).useful == 3 * 2 * 88 * (2 * 768 * 16)  # forward and twice backward


def test_a_section_is_part_of_the_config_and_of_its_tasks_config_json(run):
    assert defaults().toy.width == 8 and toy(toy__width=3).toy == ToyConfig(width=3)
    assert json.loads((run[0] / "config.json").read_text())["toy"] == {"width": 8, "probe": 0.1}
    cfg = toy(toy__width=3)
    assert from_saved(json.loads(to_json(cfg))).toy == cfg.toy
    assert "toy" not in json.loads(to_json(tiny_config()))
    with pytest.raises(ConfigError, match=r"toy\.width=0: expected at least 1"):
        toy(toy__width=0)
    with pytest.raises(ConfigError, match=r"unknown field toy\.widt: did you mean 'width'"):
        from_saved({"toy": {"widt": 3}})
    with pytest.raises(ConfigError, match=r"data\.latents='x': expected '' for this task"):
        toy(data__latents="x")
    with pytest.raises(AttributeError, match="no section or field 'toys'"):
        _ = cfg.toys


def test_what_needs_another_task_says_which(run):
    with pytest.raises(ConfigError, match=r"--workdir=.*: expected a run of task diffusion, not"):
        generate(str(run[0]), {})


def test_names_are_taken_once():
    with pytest.raises(ValueError, match="two tasks are called 'toy'"):
        register("toy", ToyTask, TaskConfig())
    with pytest.raises(ValueError, match="'losses' must be a new name"):
        register("other", ToyTask, TaskConfig({"losses": ToyConfig}))
    with pytest.raises(ValueError, match="every config has a field 'data' already"):
        register("other", ToyTask, TaskConfig({"data": ToyConfig}))
    with pytest.raises(ConfigError, match="task='other': expected one of autoencoder, diffusion"):
        register("other", ToyTask)


@pytest.mark.parametrize("name", ["autoencoder", "diffusion", "toy"])
def test_abstract_frozen_arrays_are_those_that_are_made(name, mesh):
    with mesh(data=2):
        cfg = toy() if name == "toy" else tiny_config(name, losses__perceptual=1.0)
        task = make_task(cfg, open_tokenizer("synthetic"))
        made, promised = task.make_frozen([pack([[clip(0)], [clip(1)]])]), task.abstract_frozen()

        def same(array, abstract):
            assert (array.shape, array.dtype) == (abstract.shape, abstract.dtype)
            assert array.sharding.is_equivalent_to(abstract.sharding, array.ndim)

        jax.tree.map(same, made, promised)


def test_the_flag_config_knows_the_section_of_a_task_that_the_file_imports(tmp_path):
    (tmp_path / "toy_config.py").write_text(
        "import toy_task\n"
        "from videodit.config import defaults\n\n\n"
        "def get_config():\n"
        "    config = defaults()\n"
        "    config.task = 'toy'\n"
        "    return config\n"
    )
    code = (
        "import sys; from videodit.command_line import config_from_flags, parse_flags; "
        "parse_flags(sys.argv); print(config_from_flags().toy)"
    )
    root = Path(importlib.import_module("toy_task").__file__).parents[1]
    arguments = [f"--config={tmp_path}/toy_config.py", "--config.toy.width=32"]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": f"{root}:{root}/tests", "JAX_PLATFORMS": "cpu"},
    )
    assert done.stdout == "ToyConfig(width=32, probe=0.1)\n", done.stderr
