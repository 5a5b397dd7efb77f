"""Runs through the training loop: resumed equals unbroken, one compilation, refusals."""

import dataclasses
import importlib
import json
from contextlib import closing

import jax
import numpy as np
import pytest
from clips import made_up
from packs import tiny_config

from videodit.config import ConfigError
from videodit.data.planning.plan import Plan
from videodit.data.sources.synthetic import SyntheticSource, synthetic_tokenizer
from videodit.inference.codec import Codec
from videodit.lock import WorkdirLock
from videodit.metrics import has_line, read_metrics
from videodit.preemption import Preempted, Preemption
from videodit.tasks.registry import make_task
from videodit.train import Data, keep_compiled, plan_metrics, train

LEAVE_OUT = {
    "time", "step_seconds", "tokens_per_second", "seconds_left",
    "tflops", "data_wait", "save_wait", "compiles",
}  # fmt: skip

SCHEDULES = {
    "data__views__sides": ((0.0, 16.0, 40.0), (2.0, 24.0, 64.0)),
    "data__views__seconds": ((0.0, 0.2, 1.0),),
    "data__views__drop": ((0.0, 0.6, 2.0, 2.0), (4.0, 0.2, 2.0, 2.0)),
    "data__text_tokens": 0,
}


# What a diffusion run may keep beside AdamW's state and an EMA, and levels from two distributions.
KEPT = {
    "optim__matrices": "muon",
    "optim__power_averages": (0.05, 0.1),
    "flow__fine_share": 0.25,
}


def short(task="diffusion", steps=5, **changes):
    changes = {
        "steps": steps,
        "save_every": 2,
        "eval_every": 2,
        "log_every": 1,
        "optim__warmup_steps": 2,
        **changes,
    }
    return tiny_config(task, **changes)


def losses(workdir):
    return [{k: v for k, v in line.items() if k not in LEAVE_OUT} for line in read_metrics(workdir)]


def test_a_crash_in_any_file_of_a_run_does_not_stop_its_next_start(tmp_path, caplog):
    train(short("autoencoder", steps=2), tmp_path)
    for name in ("metrics.jsonl", "goodput.jsonl"):
        lines = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(lines + bytes(64) + b"\n" + lines.splitlines()[-1][:-9])
    for name in ("data.digest", "summary.json", "latents.json", "draws/000002/index.json"):
        (tmp_path / name).write_bytes(b"")
    train(short("autoencoder", steps=3), tmp_path)
    steps = [line["step"] for line in read_metrics(tmp_path) if line["kind"] == "train"]
    assert steps == [1, 2, 3]
    assert json.loads((tmp_path / "summary.json").read_text())["seconds"]["lost"] == 0
    assert len(json.loads((tmp_path / "latents.json").read_text())["mean"]) > 0
    (tmp_path / "config.json").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"config\.json: is empty; expected JSON"):
        train(short("autoencoder", steps=4), tmp_path)


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_run_without_held_out_clips_says_so_once(mesh, monkeypatch, caplog, split):
    source = SyntheticSource(8)
    source.catalog = dataclasses.replace(
        source.catalog, split=np.array(["train"] * 7 + [split], object)
    )
    monkeypatch.setattr("videodit.train.open_source", lambda *_: source)
    with mesh(), closing(Data(synthetic_tokenizer())) as data:
        data.open(short())
    assert caplog.text.count("no clip is held out, so nothing will be evaluated") == (
        split == "train"
    )
    assert ("data.val_fraction" in caplog.text) == (split == "train")


def test_a_run_that_is_asked_to_leave_saves_and_goes_on_as_if_it_had_not(tmp_path, monkeypatch):
    cfg = short("autoencoder", steps=5, save_every=5, eval_every=3)
    whole = train(cfg, tmp_path / "whole")
    monkeypatch.setattr(Preemption, "reached", lambda self, step: step == 3)  # evaluation is due
    with pytest.raises(Preempted, match="saved after step 3"):
        train(cfg, tmp_path / "left")
    assert not has_line(tmp_path / "left", 3, "eval")
    monkeypatch.setattr(Preemption, "reached", lambda self, step: False)
    went_on = train(cfg, tmp_path / "left")
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(whole), jax.device_get(went_on))
    assert losses(tmp_path / "left") == losses(tmp_path / "whole")


def test_a_run_that_is_asked_to_leave_before_its_first_step_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(Preemption, "reached", lambda self, step: True)
    with pytest.raises(
        Preempted, match="preempted by SIGTERM; nothing to save before the first step in"
    ):
        train(short("autoencoder"), tmp_path)
    assert not list((tmp_path / "checkpoints").glob("[0-9]*"))


@pytest.mark.parametrize("task", ["diffusion", pytest.param("autoencoder", marks=pytest.mark.slow)])
def test_resumed_equals_unbroken_to_the_bit(tmp_path, task, monkeypatch):
    cfg = short(task, **SCHEDULES, **(KEPT if task == "diffusion" else {}))
    whole = train(cfg, tmp_path / "whole")

    class Killed(Exception):
        pass

    def kill(self, step, state):
        original(self, step, state)
        if step == 2:
            self._manager.wait_until_finished()
            raise Killed

    from videodit.checkpoint import Checkpointer

    original = Checkpointer.save
    monkeypatch.setattr(Checkpointer, "save", kill)
    with pytest.raises(Killed):
        train(cfg, tmp_path / "broken")
    monkeypatch.setattr(Checkpointer, "save", original)
    resumed = train(cfg, tmp_path / "broken")
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(whole), jax.device_get(resumed))
    assert losses(tmp_path / "whole") == losses(tmp_path / "broken")
    assert [line["step"] for line in losses(tmp_path / "whole") if line["kind"] == "train"] == [
        1,
        2,
        3,
        4,
        5,
    ]
    if task == "diffusion":
        saved = {path.name for path in (tmp_path / "broken/averages/checkpoints").glob("[0-9]*")}
        assert saved == {"1", "2", "3", "4", "5"}
    for name in ("summary.json", "config.json"):
        assert (tmp_path / "broken" / name).is_file()
    assert not (tmp_path / "broken" / "lock").exists()


@pytest.mark.slow
def test_a_run_goes_on_with_more_steps_and_on_another_mesh(tmp_path, caplog):
    train(short(steps=2), tmp_path)
    assert "the config has changed" not in caplog.text
    state = train(short(steps=3, mesh__data=2), tmp_path)
    assert int(state["step"]) == 3
    assert len(jax.tree.leaves(state["params"])[0].devices()) == 2
    assert "(then, now): steps: 2, 3; mesh.data: 1, 2; learning rate now: " in caplog.text


def test_nothing_recompiles_after_the_first_step(tmp_path, monkeypatch):
    import videodit.train as module

    compiled = []
    make = module.make_train_step

    def watched(*args):
        step = make(*args)

        def call(*call_args):
            result = step(*call_args)
            compiled.append(step._cache_size())
            return result

        return call

    monkeypatch.setattr(module, "make_train_step", watched)
    mixtures = []
    put = module.train_batches

    def recorded(*args, **kwargs):
        batches = put(*args, **kwargs)
        original = batches.__next__

        class Recorded:
            def __next__(self):
                batch = original()
                mixtures.append(np.asarray(batch.grids).tobytes())
                return batch

            def __iter__(self):
                return self

            def close(self):
                batches.close()

        return Recorded()

    monkeypatch.setattr(module, "train_batches", recorded)
    (tmp_path / "profile").write_text("2")
    train(short(steps=6, save_every=100, eval_every=100, **SCHEDULES), tmp_path)
    assert compiled == [1] * 6
    assert list((tmp_path / "profiles" / "0").rglob("*.xplane.pb"))  # of steps 1 and 2
    assert len(set(mixtures)) >= 6


def test_dropping_is_reported(tmp_path):
    train(short("autoencoder", steps=2, **SCHEDULES), tmp_path)
    for line in losses(tmp_path):
        if line["kind"] == "train":
            # Attention is squared: dropping a share of the tokens saves more than that.
            assert 0.05 < line["tokens_dropped"] < line["flops_saved"] < 0.9
            assert line["imbalance"] == 1 and line["replaced"] == 0 and 0 <= line["left_over"] < 1


@pytest.mark.slow
def test_a_stage_starts_from_the_weights_of_the_one_before(tmp_path):
    first = train(short(steps=3), tmp_path / "first")
    longer = short(steps=1, init_from=str(tmp_path / "first"), data__row_tokens=640)
    module = importlib.import_module("videodit.train")
    seen = []
    with pytest.MonkeyPatch.context() as patch:
        make = module.make_train_step

        def watched(*args):
            step = make(*args)
            return lambda state, *rest: seen.append(jax.device_get(state)) or step(state, *rest)

        patch.setattr(module, "make_train_step", watched)
        train(longer, tmp_path / "second")
    for name in ("params", "ema"):
        jax.tree.map(np.testing.assert_array_equal, seen[0][name], jax.device_get(first["ema"]))
    assert int(seen[0]["step"]) == 0
    other = dataclasses.replace(longer, dit=dataclasses.replace(longer.dit, modulation="shared"))
    with pytest.raises(ConfigError, match=r"another config.*dit.modulation"):
        train(other, tmp_path / "third")


def test_a_step_may_be_without_clips(mesh):
    heights = np.array([16] * 18 + [160] * 2, np.int32)  # too few draws for two rows, now and then
    clips = made_up(20, width=np.full(20, 16, np.int32), height=heights)
    rows = {"row_tokens": 120, "batch_rows": 1, "rows_per_group": 2, "max_segments": 4}
    cfg = tiny_config("autoencoder", **{f"data__{name}": n for name, n in rows.items()})
    plan = Plan(clips, cfg.data, 0, cfg.autoencoder.patch)
    step = next(step for step in range(1000) if not plan.lengths(step))
    with mesh(data=1):
        planned, flops = plan_metrics(plan, make_task(cfg, synthetic_tokenizer()), step)
    assert flops.useful == planned["flops_saved"] == planned["tokens_dropped"] == 0


@pytest.mark.slow
def test_a_discriminator_is_its_runs_own(tmp_path):
    changes = {"losses__adversarial": 1.0, "steps": 1}
    first = train(short("autoencoder", **changes), tmp_path / "first")
    assert "discriminator" in first["params"] and "discriminator" not in first["ema"]
    frames = np.zeros((5, 16, 16, 3), np.uint8)
    assert Codec.read(tmp_path / "first").reconstruct(frames, 8.0).shape == frames.shape
    line = losses(tmp_path / "first")[1]
    assert {"squared_error", "kl", "adversarial", "discriminator"} < set(line)

    with pytest.raises(ConfigError, match=r"of discriminator 'smoke', not 'none'"):
        train(short("autoencoder", steps=2), tmp_path / "first")
    second = train(
        short("autoencoder", init_from=str(tmp_path / "first"), **changes), tmp_path / "second"
    )
    assert int(second["step"]) == 1 and "discriminator" in second["params"]


def test_a_checkpoint_of_another_config_is_refused_and_kept(tmp_path):
    cfg = short("autoencoder", steps=1)
    train(cfg, tmp_path)
    before = (tmp_path / "config.json").read_text()
    wider = dataclasses.replace(cfg, autoencoder=dataclasses.replace(cfg.autoencoder, channels=8))
    with pytest.raises(ConfigError, match=r"another config .*autoencoder.channels: 16, 8"):
        train(wider, tmp_path)
    assert (tmp_path / "config.json").read_text() == before


def test_a_dit_adopts_the_shape_of_its_trained_autoencoder(tmp_path):
    train(short("autoencoder", steps=1, autoencoder__channels=8), tmp_path / "autoencoder")
    cfg = short(steps=1, autoencoder__workdir=str(tmp_path / "autoencoder"), autoencoder__size="L")
    train(cfg, tmp_path / "dit")
    stored = json.loads((tmp_path / "dit" / "config.json").read_text())["autoencoder"]
    assert stored["channels"] == 8 and stored["size"] == "smoke"
    statistics = json.loads((tmp_path / "autoencoder" / "latents.json").read_text())
    assert np.shape(statistics["covariance"]) == (8, 8)


@pytest.mark.parametrize("change, message", [
    ({"data__catalog": ""}, "data.catalog"),
    ({"mesh__fsdp": 3}, "data.batch_rows=2: expected a multiple of 3"),
    ({"mesh__tensor": 16}, "needs 16 devices, there are 8"),
    ({"mesh__data": 8}, "data.batch_rows=2: expected a multiple of 8"),
        ({"sample__size": "640x640"}, "needs 12800 tokens"),
        ({"dit__size": "XS"}, "unknown dit.size"),
])  # fmt: skip
def test_bad_input_is_named_before_anything_is_written(tmp_path, change, message):
    with pytest.raises(ConfigError, match=message):
        train(short(**change), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("change, message", [
    ({"dit__size": "XS"}, "unknown dit.size='XS'"),
    ({"text__size": "XS"}, "unknown text.size='XS'"),
    ({"compute__remat": "blok"}, "unknown compute.remat='blok': did you mean 'block'"),
    ({"compute__attention": "blokked"}, "compute.attention='blokked': did you mean 'blocked'"),
    ({"init_from": "/absent"}, "^init_from='/absent': expected a run's folder"),
])  # fmt: skip
def test_names_are_checked_before_data_are_opened(tmp_path, monkeypatch, change, message):
    monkeypatch.setattr("videodit.train.Data.open", lambda *_: pytest.fail("data were opened"))
    with pytest.raises(ConfigError, match=message):
        train(short(**change), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_folder_that_cannot_be_written_is_refused_first(tmp_path, monkeypatch):
    monkeypatch.setattr("videodit.train.make_mesh", lambda *_: pytest.fail("it is too late"))
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"^--workdir='.*/file/run': expected a folder that can"):
        train(short(), tmp_path / "file" / "run")


@pytest.mark.parametrize("task", ["autoencoder", "diffusion"])
def test_a_run_without_a_readable_clip_is_refused_before_it_begins(tmp_path, monkeypatch, task):
    def read(self, i, view):
        raise ConfigError(f"clip {self.catalog.ids[i]}: moov atom not found")

    monkeypatch.setattr(SyntheticSource, "read", read)
    message = r"^data.catalog: none of the 100 clips .*\n  clip \S+: moov atom not found\n"
    with pytest.raises(ConfigError, match=message):
        train(short(task, data__max_broken=1.0), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_second_run_in_a_workdir_is_refused_before_data_are_opened(tmp_path, monkeypatch):
    monkeypatch.setattr("videodit.train.Data.open", lambda *_: pytest.fail("data were opened"))
    with closing(WorkdirLock(tmp_path)) as other:
        other.take()
        with pytest.raises(ConfigError, match=r"^--workdir='.*': another run \(host .*trains here"):
            train(short(), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_compiled_programs_are_kept_in_the_workdir_of_accelerators(monkeypatch, tmp_path):
    before = jax.config.jax_compilation_cache_dir
    try:
        for backend, there, expected in (
            ("cpu", None, None),
            ("gpu", "/elsewhere", "/elsewhere"),
            ("gpu", None, str(tmp_path / "compiled")),
        ):
            monkeypatch.setattr(jax, "default_backend", lambda backend=backend: backend)
            jax.config.update("jax_compilation_cache_dir", there)
            keep_compiled(str(tmp_path))
            assert jax.config.jax_compilation_cache_dir == expected
    finally:
        jax.config.update("jax_compilation_cache_dir", before)
