"""Hostile configs, command lines and workdirs: one clear line and exit status 2, no traceback."""

import json
import os
import time
from pathlib import Path

import pytest
from hostile import run_here
from packs import tiny_config

from videodit.config import to_json
from videodit.data.sources.synthetic import synthetic_tokenizer

SMOKE = "--config=configs/dit_xl.py:smoke"
SECONDS = 10.0  # that a refusal may take
HUGE = 10**23

FIELDS = [
    ("optim.learning_rate=nan", "optim.learning_rate=nan: expected "),
    ("optim.learning_rate=-1", "optim.learning_rate=-1.0: expected 0 or more"),
    ("optim.learning_rate=fast", "optim.learning_rate"),
    ("optim.clip_norm=inf", "optim.clip_norm=inf: expected a finite number"),
    ("optim.b1=nan", "optim.b1=nan: expected "),
    (f"optim.warmup_steps={HUGE}", "optim.warmup_steps=1000"),
    ("optim.snapshots=9999999", "optim.snapshots=9999999: expected at most 65536"),
    ("optim.decay_from=9", "optim.decay_from=9: expected at most 2, where the decay ends"),
    ("optim.power_averages=(0.1,)", "optim.power_averages=(0.1,): expected () or two"),
    ("optim=3", "optim"),
    ("flow.logit_std=inf", "flow.logit_std=inf: expected a finite number"),
    ("losses.l1=inf", "losses.l1=inf: expected a finite number"),
    ("data.modes.generate=inf", "data.modes.generate=inf: expected a finite number"),
    ("data.modes.generate=-1", "data.modes="),
    ("data.views.seconds=((0,1,1e400),)", "data.views.seconds[0][2]=inf: expected a finite"),
    ("data.views.sides=((0,'a',3),)", "data.views.sides[0][1]='a': expected a float"),
    ("data.views.sides=5", "data.views.sides[0]=5: expected a tuple"),
    ("data.max_broken=nan", "data.max_broken=nan: expected "),
    ("data.worker_memory=1e300", "data.worker_memory=1e+300: expected more than 0 GB, at most"),
    (f"data.row_tokens={HUGE}", "data.row_tokens=1000"),
    ("data.row_tokens=99999999", "data.row_tokens=99999999: expected at most 16777216"),
    ("data.text_tokens=99999999", "data.text_tokens=99999999: expected at most 16777216"),
    ("data.max_segments=1000000", "data.max_segments=1000000: expected at most 65536"),
    ("data.threads=1000000", "data.threads=1000000: expected at most 4096"),
    ("data.batch_rows=0", "data.batch_rows=0: expected at least 1"),
    ("data.catalog=/absent", "data.catalog='/absent': no such folder"),
    ("data.catalog=FILE", "data.catalog="),
    ("data.catalog=EMPTY", "expected videos or images in it"),
    ("data.catalog=tfds:nothing", "data.catalog='tfds:nothing': expected tfds:"),
    ("data.where=1; drop", "data.where='1; drop': expected ''"),
    ("text.workdir=/absent", "text.workdir='/absent': "),
    ("text.workdir=EMPTY", "tokenizer.model: no such file"),
    ("autoencoder.workdir=FILE", "expected a run's folder; it has no config.json"),
    ("autoencoder.patch=(4,100000,100000)", "autoencoder.patch=(4, 100000, 100000): expected at"),
    ("autoencoder.patch=(0,8,8)", "autoencoder.patch=(0, 8, 8): expected frames, height and"),
    ("autoencoder.kind=nothing", "autoencoder.kind='nothing': expected one of videodit"),
    ("dit.size=../../etc", "unknown dit.size='../../etc'"),
    ("compute.dtype=float99", "compute.dtype='float99': expected 'float32' or"),
    ("sample.prompts=('a',3)", "sample.prompts[1]=3: expected a str"),
    ("sample.size=0x0", "sample.size='0x0': expected WIDTHxHEIGHT"),
    ("mesh.data=-2", "mesh data=-2"),
    ("mesh.fsdp=99999999", "needs 99999999 devices"),
    ("steps=0", "steps=0: expected at least 1"),
    (f"steps={HUGE}", "steps=1000"),
    (f"seed={2**32}", "seed=4294967296: expected a finite number, for whole numbers of 32 bits"),
    ("seed=-1", "seed=-1: expected 0 or more"),
    ("task=nothing", "task='nothing': expected one of autoencoder, diffusion"),
    ("nothing=1", "unknown field nothing"),
    ("init_from=FILE", "init_from="),
]
LINES = [
    ("videodit.main", [], "--config: expected a value"),
    ("videodit.main", [SMOKE], "--workdir: expected a value"),
    ("videodit.main", [SMOKE, "--workdir="], "--workdir='': expected a folder"),
    ("videodit.main", [SMOKE, "--workdir=FILE"], "expected a folder that can be written"),
    ("videodit.main", [SMOKE, "--workdir=FILE/run"], "expected a folder that can be written"),
    ("videodit.main", [SMOKE, "--workdir=" + "a" * 5000], "expected a folder that can be written"),
    ("videodit.main", [SMOKE, "--workdir=RUN", "word"], "unexpected argument 'word'"),
    ("videodit.main", ["--config=configs", "--workdir=RUN"], "--config='configs': no such file"),
    ("videodit.main", ["--config=README.md", "--workdir=RUN"], "--config: SyntaxError: "),
    ("videodit.main", ["--config=BAD", "--workdir=RUN"], "bad.py, line 2)"),
    ("videodit.plan", [SMOKE, "--topology=h100"], "topology"),
    ("videodit.plan", [SMOKE, "--topology=v5p:0x0x0"], "topology"),
    ("videodit.plan", [SMOKE, "--topology=cpu:2", "--out=RUN"], "--out='"),
    ("videodit.data.show", [SMOKE, "--out=FILE"], "--out='"),
    ("videodit.data.show", [SMOKE, "--out=RUN", "--step=-1"], "--step=-1: "),
    ("videodit.data.show", [SMOKE, "--out=RUN", "--rows=many"], "--rows=many: "),
]


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    """Words of the tables above, and the paths that they stand for."""
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "empty").mkdir()
    (folder / "other").mkdir()
    (folder / "file").write_text("x")
    (folder / "bad.py").write_text("def get_config():\n    return 1 / 0\n")
    names = {"EMPTY": "empty", "RUN": "other", "FILE": "file", "BAD": "bad.py"}
    return {word: str(folder / name) for word, name in names.items()}


@pytest.fixture(autouse=True)
def root(monkeypatch):
    """What is not refused is not trained."""
    monkeypatch.chdir(Path(__file__).parents[1])
    monkeypatch.setattr("videodit.train._train", lambda *_: pytest.fail("it was not refused"))


def refusal(module, arguments, paths):
    """The one line with which a command refuses its arguments."""
    for word, path in paths.items():
        arguments = [argument.replace(word, path) for argument in arguments]
    began = time.monotonic()
    done = run_here(module, *arguments)
    assert time.monotonic() - began < SECONDS
    assert done.status == 2 and done.errors.startswith("error: "), done
    assert done.errors.count("\n") == 1, done
    return done.errors


@pytest.mark.parametrize("change, message", FIELDS)
def test_a_hostile_config_is_refused(paths, tmp_path, change, message):
    run = tmp_path / "run"
    line = refusal("videodit.main", [SMOKE, f"--workdir={run}", f"--config.{change}"], paths)
    assert message in line and not run.exists()


@pytest.mark.parametrize("module, arguments, message", LINES)
def test_a_hostile_command_line_is_refused(paths, module, arguments, message):
    assert message in refusal(module, arguments, paths)
    assert os.listdir(paths["RUN"]) == []


def make_run(workdir):
    """A workdir as a run leaves it, whose only checkpoint is empty."""
    (workdir / "checkpoints" / "3").mkdir(parents=True)
    (workdir / "config.json").write_text(to_json(tiny_config()))
    synthetic_tokenizer().write(workdir)


def cut(workdir):
    path = workdir / "config.json"
    path.write_text(path.read_text()[:200])


def rename_field(workdir):
    path = workdir / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"stepz": 3}))


def replace_checkpoints(workdir):
    (workdir / "checkpoints" / "3").rmdir()
    (workdir / "checkpoints").rmdir()
    (workdir / "checkpoints").write_text("")


WORKDIRS = [
    (
        lambda workdir: (workdir / "config.json").write_text(""),
        "config.json: is empty",
    ),
    (lambda workdir: (workdir / "config.json").write_text("[]"), "config.json: expected an object"),
    (
        lambda workdir: (workdir / "config.json").write_bytes(b"\xff\0"),
        "config.json: expected UTF-8",
    ),
    (cut, "config.json: is not JSON"),
    (rename_field, "unknown field stepz"),
    (lambda workdir: (workdir / "tokenizer.model").unlink(), "tokenizer.model: no such file"),
]


@pytest.mark.parametrize("spoil, message", WORKDIRS)
@pytest.mark.parametrize("module", ["videodit.main", "videodit.generate"])
def test_a_hostile_workdir_is_refused(tmp_path, module, spoil, message):
    make_run(tmp_path / "run")
    spoil(tmp_path / "run")
    arguments = [f"--workdir={tmp_path}/run", SMOKE]
    if module == "videodit.generate":
        arguments[1:] = ["--prompt=a", f"--out={tmp_path}/a.mp4"]
    assert message in refusal(module, arguments, {})
    assert not (tmp_path / "run" / "lock").exists()


def test_checkpoints_that_are_a_file_are_refused(tmp_path):
    make_run(tmp_path)
    replace_checkpoints(tmp_path)
    line = refusal("videodit.main", [SMOKE, f"--workdir={tmp_path}"], {})
    assert "checkpoints': expected a folder that can be written" in line
