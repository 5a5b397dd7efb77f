import shutil
from contextlib import closing
from dataclasses import replace
from typing import NamedTuple

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
from videodit.folders import FullDisk
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


def states():
    """A state after 5 steps and one after 6, made on the current mesh."""
    state = jax.jit(make_state)()
    return {5: state, 6: jax.tree.map(lambda x: x + 1, state)}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder with both states, and the states as numpy arrays."""
    folder, made = tmp_path_factory.mktemp("saved"), states()
    with closing(Checkpointer(folder)) as checkpoints:
        for step, state in made.items():
            checkpoints.save(step, state)
    return folder, jax.device_get(made)


def flip(path, rng):
    data = bytearray(path.read_bytes())
    data[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
    path.write_bytes(data)


def cut(path, rng):
    path.write_bytes(path.read_bytes()[: rng.integers(path.stat().st_size)])


def remove(path, rng):
    path.unlink()


DAMAGES = [(flip, seed) for seed in range(20)] + [(cut, seed) for seed in range(10)]
DAMAGES += [(remove, seed) for seed in range(5)]


@pytest.mark.parametrize("damage, seed", DAMAGES)
def test_no_damage_yields_other_arrays_than_were_saved(saved, tmp_path, mesh, damage, seed):
    """A damaged checkpoint is moved away, and the one before is read."""
    folder, expected = saved
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    rng = np.random.default_rng(seed)
    files = sorted(p for p in (tmp_path / "checkpoints/6").rglob("*") if p.is_file())
    damage(files[rng.integers(len(files))], rng)
    with mesh(), closing(Checkpointer(tmp_path)) as checkpoints:
        state, step = checkpoints.restore(abstract(make_state))
        jax.tree.map(np.testing.assert_array_equal, jax.device_get(state), expected[step])
        assert (tmp_path / "damaged/6").is_dir() == (step == 5)
        checkpoints.save(7, state)  # and the run goes on
    assert (tmp_path / "checkpoints/7").is_dir()


def test_a_damaged_checkpoint_behind_a_damaged_one_ends_nothing(saved, tmp_path, mesh):
    folder, expected = saved
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    (tmp_path / "checkpoints/6/loader/metadata").unlink()
    (tmp_path / "checkpoints/5/_CHECKPOINT_METADATA").write_bytes(b"")
    with mesh(), closing(Checkpointer(tmp_path)) as checkpoints:
        state, step = checkpoints.restore(abstract(make_state))
        assert (step, checkpoints.steps()) == (5, [5])
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(state), expected[5])


def flipped_kernel(self, step, target):
    """Wrong arrays of step 6, as if the file system had changed them without notice."""
    found, known = original_load(self, step, target)
    if step == 6:
        found["ema"] = jax.tree.map(lambda x: x + 1e-6 * (x == x.max()), found["ema"])
    return found, known


original_load = Checkpointer._load


def test_digests_tell_what_files_do_not(saved, tmp_path, monkeypatch, caplog, mesh):
    folder, expected = saved
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    monkeypatch.setattr(Checkpointer, "_load", flipped_kernel)
    with mesh():
        ema = restore_ema(tmp_path, abstract(make_state)["ema"], "--workdir")
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(ema), expected[5]["ema"])
    assert f"damaged checkpoint {tmp_path}/checkpoints/6: its arrays are not" in caplog.text
    assert (tmp_path / "checkpoints/6").is_dir()  # a reader moves nothing


def test_if_all_are_damaged_they_stay_and_are_named(saved, tmp_path, mesh):
    folder, _ = saved
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    for step in (5, 6):
        (tmp_path / f"checkpoints/{step}/loader/metadata").unlink()
    match = r"no checkpoint is as .*/6: .*; .*/5: "
    with (
        mesh(),
        closing(Checkpointer(tmp_path)) as checkpoints,
        pytest.raises(ConfigError, match=match) as error,
    ):
        checkpoints.restore(abstract(make_state))
    assert "\n" not in str(error.value)
    assert {p.name for p in (tmp_path / "checkpoints").iterdir()} == {"5", "6"}


def test_a_checkpoint_of_an_older_version_has_no_digests(saved, tmp_path, mesh):
    folder, expected = saved
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    (tmp_path / "checkpoints/6/loader/metadata").write_text('{"next_step": 6}')
    with mesh(), closing(Checkpointer(tmp_path)) as checkpoints:
        state, step = checkpoints.restore(abstract(make_state))
    assert step == 6
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(state), expected[6])


def test_the_last_sound_checkpoint_is_never_rotated_away(tmp_path, mesh):
    steps = lambda: {int(path.name) for path in (tmp_path / "checkpoints").iterdir()}
    with closing(Checkpointer(tmp_path, keep=2)) as checkpoints:
        for step in (1, 2, 3):  # until one is known to be sound, all are kept
            checkpoints.save(step, {"step": jnp.int32(step)})
        assert checkpoints.last_sound() is None
        checkpoints.mark_sound(2)
    with closing(Checkpointer(tmp_path, keep=2)) as checkpoints:  # after a restart
        for step in (4, 5, 6):
            checkpoints.save(step, {"step": jnp.int32(step)})
        assert checkpoints.last_sound() == tmp_path / "checkpoints/2"
    assert steps() == {2, 5, 6}
    with mesh(), closing(Checkpointer(tmp_path, keep=2)) as checkpoints:
        checkpoints.mark_sound(5)
        checkpoints.save(7, {"step": jnp.int32(7)})
    assert steps() == {5, 6, 7}


def test_weights_that_are_not_finite_are_refused(tmp_path, mesh):
    with mesh():
        state = jax.jit(make_state)()
        state["ema"] = jax.tree.map(lambda x: jnp.where(x == x.max(), jnp.nan, x), state["ema"])
        with closing(Checkpointer(tmp_path)) as checkpoints:
            checkpoints.save(5, state)
        with pytest.raises(ConfigError, match=r"^--workdir=.*: the weights are not finite"):
            restore_ema(tmp_path, abstract(make_state)["ema"], "--workdir")


def test_a_checkpoint_that_does_not_fit_on_the_disk_is_not_begun(tmp_path, monkeypatch):
    monkeypatch.setattr("videodit.folders.shutil.disk_usage", lambda _: Usage(10, 10, 0))
    message = rf"^{tmp_path}: no space left for a checkpoint of 0 MiB; 0 MiB are free"
    with (
        closing(Checkpointer(tmp_path)) as checkpoints,
        pytest.raises(FullDisk, match=message),
    ):
        checkpoints.save(5, jax.jit(make_state)())
    assert not list((tmp_path / "checkpoints").iterdir())


class Usage(NamedTuple):
    total: int
    used: int
    free: int


def test_a_folder_without_a_run_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"autoencoder.workdir='.*' *: expected the folder"):
        restore_ema(tmp_path, None, "autoencoder.workdir")
    with pytest.raises(ConfigError, match=r"--workdir=.*has no config.json"):
        read_config(tmp_path, "--workdir")


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"\xff", b"\0\0", b"[" * 99999])
def test_a_damaged_config_is_named(tmp_path, text):
    (tmp_path / "config.json").write_bytes(text)
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(ConfigError, match=r"config\.json: (is|expected) "):
        read_config(tmp_path, "--workdir")
    with pytest.raises(ConfigError, match=r"config\.json: (is|expected) "):
        check_run(tmp_path, tiny_config(), open_tokenizer("synthetic"))


def test_a_bad_value_in_a_config_is_named_with_the_file(tmp_path):
    (tmp_path / "config.json").write_text('{"steps": "many"}')
    with pytest.raises(ConfigError, match=r"config\.json: steps='many': expected"):
        read_config(tmp_path, "--workdir")


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


@pytest.mark.parametrize("damage", [b"", b"\0" * 17, b"\xff"])
def test_digests_that_a_crash_has_damaged_are_written_anew(tmp_path, damage, caplog):
    (tmp_path / "data.digest").write_bytes(damage)
    (tmp_path / "text.digest").write_bytes(damage)
    check_digests(tmp_path, {"text": "one"}, tiny_config())
    check_data(tmp_path, "one", resumed=True)
    write_digests(tmp_path, {"text": "one"})
    assert "has changed" not in caplog.text
    with pytest.raises(ConfigError, match=r"\(two\).*\(one\)"):
        check_digests(tmp_path, {"text": "two"}, tiny_config())


def test_other_data_on_resume_are_said(tmp_path, caplog):
    check_data(tmp_path, "one", resumed=False)
    check_data(tmp_path, "one", resumed=True)
    check_data(tmp_path, "two", resumed=False)
    assert not caplog.records
    check_data(tmp_path, "three", resumed=True)
    assert "catalog" in caplog.text and str(tmp_path) in caplog.text
