from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from packs import tiny_config

from videodit.checkpoint import (
    Checkpointer,
    check_data,
    check_digests,
    check_run,
    read_config,
    restore_ema,
    write_digests,
    write_run,
)
from videodit.config import ConfigError
from videodit.data.sources.source import open_tokenizer
from videodit.data.tokenizer import train_tokenizer
from videodit.sharding import HOST, abstract, spec, to_host


def make_state():
    kernel = jax.random.normal(jax.random.key(0), (8, 16), out_sharding=spec("embed", "mlp"))
    return {
        "step": jnp.int32(5),
        "params": {"a": {"kernel": kernel}},
        "ema": {"a": {"kernel": 2 * kernel}},
        "opt": to_host((kernel**2, jnp.int32(3))),
    }


@pytest.mark.parametrize("shape", [(1, 8, 1, 1), (1, 2, 1, 4), (1, 1, 1, 1)])
def test_a_state_is_restored_onto_any_mesh(mesh, tmp_path, shape):
    with mesh(2, 2, 1, 2):
        state = jax.jit(make_state)()
        checkpoints = Checkpointer(tmp_path)
        checkpoints.save(5, state)
        checkpoints.close()
    with mesh(*shape):
        checkpoints = Checkpointer(tmp_path)
        got, step = checkpoints.restore(abstract(make_state))
        ema = restore_ema(tmp_path, abstract(make_state)["ema"], "--workdir")
        checkpoints.close()
        assert got["params"]["a"]["kernel"].sharding.spec == spec("embed", "mlp")
        assert got["opt"][0].sharding.memory_kind == HOST
        jax.tree.map(np.testing.assert_array_equal, jax.device_get(state), jax.device_get(got))
        np.testing.assert_array_equal(ema["a"]["kernel"], state["ema"]["a"]["kernel"])
        assert step == 5


def test_only_the_newest_are_kept(tmp_path):
    checkpoints = Checkpointer(tmp_path, keep=2)
    for step in (1, 2, 3):
        checkpoints.save(step, jax.jit(make_state)())
        checkpoints.mark_sound(step)
    checkpoints.close()
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == ["2", "3"]


def test_a_folder_without_a_run_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"autoencoder.workdir='.*' *: expected the folder"):
        restore_ema(tmp_path, None, "autoencoder.workdir")
    with pytest.raises(ConfigError, match=r"--workdir=.*has no config.json"):
        read_config(tmp_path, "--workdir")


@pytest.mark.parametrize("text", [b"{", b"[]", b"\xff"])
def test_a_damaged_config_is_named(tmp_path, text):
    (tmp_path / "config.json").write_bytes(text)
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(ConfigError, match=r"config\.json: damaged: "):
        read_config(tmp_path, "--workdir")
    with pytest.raises(ConfigError, match=r"config\.json: damaged: "):
        check_run(tmp_path, tiny_config(), open_tokenizer("synthetic"))


def test_a_run_is_known_by_its_model_and_tokenizer_wherever_its_inputs_lie(tmp_path):
    tokenizer = open_tokenizer("synthetic")
    write_run(tmp_path, tiny_config(), tokenizer)
    (tmp_path / "checkpoints").mkdir()
    moved = tiny_config(autoencoder__workdir="elsewhere")
    check_run(tmp_path, moved, tokenizer)
    found, written = read_config(tmp_path, "--workdir"), tiny_config()
    assert replace(found, sections={}) == replace(written, sections={})
    assert (found.flow, found.sample) == (written.flow, written.sample)
    with pytest.raises(ConfigError, match=r"another config .*dit.size: 'smoke', 'B'"):
        check_run(tmp_path, tiny_config(dit__size="B"), tokenizer)
    with pytest.raises(ConfigError, match=r"text.workdir=.*another tokenizer"):
        check_run(tmp_path, moved, train_tokenizer(["other words", "altogether"], 300))


def test_weights_trained_in_the_latents_of_another_encoder_are_refused(tmp_path):
    cfg = tiny_config(autoencoder__workdir="there")
    check_digests(tmp_path, {"autoencoder": "one"}, cfg)  # a run that has not begun
    write_digests(tmp_path, {"autoencoder": "one"})
    check_digests(tmp_path, {"autoencoder": "one"}, cfg)
    check_digests(tmp_path, {}, cfg)
    with pytest.raises(ConfigError, match=r"autoencoder.workdir='there': .*\(two\).*\(one\)"):
        check_digests(tmp_path, {"autoencoder": "two"}, cfg)


def test_other_data_on_resume_are_said(tmp_path, caplog):
    check_data(tmp_path, "one", resumed=False)
    check_data(tmp_path, "one", resumed=True)
    check_data(tmp_path, "two", resumed=False)
    assert not caplog.records
    check_data(tmp_path, "three", resumed=True)
    assert "catalog" in caplog.text and str(tmp_path) in caplog.text
