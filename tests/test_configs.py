"""Every config builds, its docstring is its command, and its smoke variant trains."""

import importlib
import re
from pathlib import Path

import jax
import pytest

from videodit.config import ConfigError, MeshConfig, from_config_dict
from videodit.data.sources.source import open_tokenizer
from videodit.sharding import abstract, make_mesh
from videodit.tasks.registry import make_task
from videodit.train import train

FOLDER = Path(__file__).parents[1] / "configs"
NAMES = [p.stem for p in sorted(FOLDER.glob("*.py")) if p.stem not in ("__init__", "common")]


def load(name):
    return importlib.import_module(f"configs.{name}")


@pytest.mark.parametrize("name", NAMES)
def test_builds_and_says_its_command_hardware_and_expectation(name):
    module = load(name)
    from_config_dict(module.get_config())
    assert f"python -m videodit.main --config=configs/{name}.py --workdir=" in module.__doc__
    assert re.search(r"Hardware: .+", module.__doc__) and "Expectation: " in module.__doc__


@pytest.mark.parametrize("name", NAMES)
def test_an_unknown_variant_is_named(name):
    with pytest.raises(ConfigError, match=r"unknown variant 'smok'.*did you mean 'smoke'"):
        load(name).get_config("smok")


@pytest.mark.parametrize(
    "name, millions",
    [
        ("dit_s", 33),
        ("dit_b", 130),
        ("dit_l", 458),
        ("dit_xl", 675),
        ("dit_3b", 3000),
        ("dit_14b", 13000),
    ],
)
def test_real_sizes_have_the_parameters_of_their_class(name, millions):
    """DiT's table 1 (arXiv:2212.09748), to which the text adds a sixth to a half; 3B and 14B."""
    config = load(name).get_config()
    config.data.text_tokens = 4096  # which the plan chooses, from captions
    cfg = from_config_dict(config)
    task = make_task(cfg, open_tokenizer("synthetic"))
    with jax.set_mesh(make_mesh(MeshConfig(data=1))):
        params = abstract(task.init, jax.random.key(0), {})["dit"]
    count = sum(leaf.size for leaf in jax.tree.leaves(params)) / 1e6
    assert millions < count < 1.55 * millions


@pytest.mark.parametrize("name", ["dit_xl", pytest.param("autoencoder_b", marks=pytest.mark.slow)])
def test_smoke_runs_two_steps_without_any_file(tmp_path, name):
    cfg = from_config_dict(load(name).get_config("smoke"))
    state = train(cfg, tmp_path)
    assert int(state["step"]) == 2
    assert list((tmp_path / "draws").rglob("*.mp4"))
