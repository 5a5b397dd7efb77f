import jax
import numpy as np
import pytest
from packs import tiny_config

from tools.average_weights import average_weights
from videodit.averages import mixture
from videodit.checkpoint import SNAPSHOTS, Checkpointer, restore_ema, write_run
from videodit.config import ConfigError, MeshConfig
from videodit.data.sources.source import open_tokenizer
from videodit.sharding import abstract, make_mesh
from videodit.tasks.registry import make_task

LENGTHS = (0.05, 0.1)
TOKENIZER = open_tokenizer("synthetic")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run's folder, the saved averages by step and length, and what reads those of a folder."""
    workdir = tmp_path_factory.mktemp("run")
    cfg = tiny_config("autoencoder", optim__power_averages=LENGTHS, autoencoder__pca_batches=0)
    init = make_task(cfg, TOKENIZER).init
    write_run(workdir, cfg, TOKENIZER)
    snapshots, saved = Checkpointer(workdir / SNAPSHOTS, keep=None), {}
    for step in (10, 20):
        powers = {str(i): init(jax.random.key(step + i), {}) for i in range(2)}
        snapshots.save(step, {"powers": powers})
        saved |= {(step, length): powers[str(i)] for i, length in enumerate(LENGTHS)}
    snapshots.close()

    def read(folder):
        with jax.set_mesh(make_mesh(MeshConfig(data=1))):
            return restore_ema(folder, abstract(init, jax.random.key(0), {}), "--workdir")

    return workdir, saved, read


def test_the_result_is_the_mixture_of_what_was_saved(run, tmp_path):
    workdir, saved, read = run
    average_weights(workdir, 0.07, tmp_path)
    factors = mixture(list(saved), 20, 0.07)
    expected = jax.tree.map(lambda *x: sum(f * y for f, y in zip(factors, x)), *saved.values())
    got = read(tmp_path)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), got, expected)
    assert (tmp_path / "config.json").is_file() and (tmp_path / "tokenizer.model").is_file()


def test_an_earlier_step_knows_nothing_of_later_ones(run, tmp_path):
    workdir, saved, read = run
    used = average_weights(workdir, 0.1, tmp_path, 10)
    assert {step for step, *_ in used} == {10}
    got = read(tmp_path)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), got, saved[(10, 0.1)])


@pytest.mark.parametrize(
    "length, step, message",
    [(0.5, None, "--length=0.5: expected above 0"), (0.1, 15, r"--step=15: expected one of \[10")],
)
def test_what_cannot_be_made_is_refused(run, tmp_path, length, step, message):
    with pytest.raises(ConfigError, match=message):
        average_weights(run[0], length, tmp_path, step)


def test_a_run_without_averages_is_refused(tmp_path):
    write_run(tmp_path, tiny_config("autoencoder"), TOKENIZER)
    with pytest.raises(ConfigError, match="has saved averages"):
        average_weights(tmp_path, 0.1, tmp_path / "out")
