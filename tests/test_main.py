"""The command line as a user meets it: one message that names the thing, no traceback."""

import os
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from videodit.lock import WorkdirLock
from videodit.metrics import read_metrics

ROOT = Path(__file__).parents[1]


def run(module, *args):
    return subprocess.run(
        [sys.executable, "-m", f"videodit.{module}", *map(str, args)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.parametrize("args, message", [
    (["--config=configs/dit_xl.py:smok"], "unknown variant 'smok'"),
    (["--config=configs/dit_xl.py:smoke", "--config.optim.learning_rat=1"], "learning_rate"),
    (["--config=configs/dit_xl.py:smoke", "--config.losses.l=1"],
     "unknown field losses.l: did you mean 'l1'"),
    (["--config=configs/dit_xl.py:smoke", "--config.steps=many"], "steps"),
    (["--config=configs/dit_xl.py:smoke", "--config.mesh.fsdp=3"], "needs 3 devices"),
    (["--config=configs/nothing.py"], "error: --config='configs/nothing.py': no such file; exp"),
    (["--config", "configs/nothing.py"], "error: --config='configs/nothing.py': no such file"),
    (["--config=configs/dit_xl.py:smök"], "unknown variant 'smök'"),
    (["--config=configs/dit_xl.py:smoke", "--workdir=/sys/kernel"],
     "error: --workdir='/sys/kernel': expected a folder that can be written ("),
    ([], "error: --config: expected a value"),
    (["--config=configs/dit_xl.py:smoke", "--config.data.sampling.sides=()"],
     "error: --config: data.sampling.sides is now called data.views.sides\n"),
    (["--config=configs/dit_xl.py:smoke", "--config.data.vie.sides=()"],
     "unknown field data.vie: did you mean 'views'"),
    (["--config=configs/dit_s.py"], "text.workdir"),
    (["--config=configs/dit_s.py", "--config.text.workdir=synthetic"], "data.catalog"),
    (["--config=configs/dit_xl.py:smoke", "extra"], "unexpected argument 'extra'"),
    (["--config=configs/dit_xl.py:smoke", "--workdir=gs://b/x"], "expected a folder"),
])  # fmt: skip
def test_wrong_input_is_one_message(tmp_path, args, message):
    result = run("main", f"--workdir={tmp_path}", *args)
    assert result.returncode == 2
    assert message in result.stderr and "Traceback" not in result.stderr
    assert result.stderr.count("error: ") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_readmes_overrides_on_a_fake_mesh(tmp_path):
    result = run(
        "main",
        "--config=configs/dit_xl.py:smoke",
        f"--workdir={tmp_path}",
        "--config.mesh.cpu_devices=8",
        "--config.mesh.fsdp=2",
    )
    assert result.returncode == 0, result.stderr
    assert "train 2/2" in result.stdout


def run_two(workdir):
    """Exit statuses and error output of two processes that train as one in a workdir."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        address = f"localhost:{probe.getsockname()[1]}"
    command = [sys.executable, "-m", "videodit.main", "--config=configs/dit_xl.py:smoke"]
    command += [f"--workdir={workdir}", "--config.mesh.cpu_devices=1", "--config.mesh.data=2"]
    processes = []
    for i in range(2):
        environment = {**os.environ, "JAX_COORDINATOR_ADDRESS": address, "JAX_NUM_PROCESSES": "2"}
        environment["JAX_PROCESS_ID"] = str(i)
        processes.append(
            subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)
        )
    errors = [process.communicate(timeout=600)[1] for process in processes]
    return [process.returncode for process in processes], errors


@pytest.mark.slow
def test_two_processes_train_as_one(tmp_path):
    statuses, errors = run_two(tmp_path / "two")
    assert statuses == [0, 0], errors
    alone = run("main", "--config=configs/dit_xl.py:smoke", f"--workdir={tmp_path}/one")
    assert alone.returncode == 0, alone.stderr
    losses = [
        {(line["step"], line["kind"]): line["loss"] for line in read_metrics(tmp_path / name)}
        for name in ("one", "two")
    ]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)


@pytest.mark.slow
def test_all_processes_of_a_second_run_are_refused(tmp_path):
    with closing(WorkdirLock(tmp_path)) as other:
        other.take()
        statuses, errors = run_two(tmp_path)
    assert statuses == [2, 2], errors
    assert f"another run (host {socket.gethostname()}, pid {os.getpid()}, since" in errors[0]
    assert "error: process 0 has refused the run and says why" in errors[1]
