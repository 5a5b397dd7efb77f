"""Real trainings of several processes, one of which is killed or asked to leave."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from videodit.goodput import FILE
from videodit.metrics import read_metrics

STEPS, SAVE_EVERY = 30, 5


def process_number(pid: int) -> str:
    environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return dict(x.split(b"=", 1) for x in environment if b"=" in x)[b"JAX_PROCESS_ID"].decode()


def children(pid: int) -> list[int]:
    return [int(x) for x in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def train_and_interrupt(workdir, processes: int, number: int) -> str:
    """Trains in as many processes, one of which gets a signal; what they wrote to stderr."""
    command = [sys.executable, "-m", "launch.processes", f"--processes={processes}", "--"]
    command += [f"--workdir={workdir}", "--config=configs/demo_autoencoder.py:smoke"]
    for field, value in {
        "mesh.data": processes,
        "data.batch_rows": processes,
        "data.rows_per_group": processes,
        "steps": STEPS,
        "eval_every": STEPS,
        "save_every": SAVE_EVERY,
    }.items():
        command.append(f"--config.{field}={value}")
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    job = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 300
    while not any(line["step"] > SAVE_EVERY + 1 for line in read_metrics(workdir)):
        assert job.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
    victim = next(pid for pid in children(job.pid) if process_number(pid) == "2")
    os.kill(victim, number)
    _, errors = job.communicate(timeout=400)
    assert job.returncode == 0, errors
    steps = [line["step"] for line in read_metrics(workdir) if line["kind"] == "train"]
    assert steps == list(range(1, STEPS + 1))
    return errors


def lives(workdir) -> list[dict]:
    """The last line of goodput of each start of the job, in order."""
    lines = map(json.loads, (workdir / FILE).read_text().splitlines())
    return list({line["began"]: line for line in lines}.values())


@pytest.mark.slow
def test_a_killed_process_brings_the_job_back_at_the_right_step(tmp_path):
    errors = train_and_interrupt(tmp_path, 4, signal.SIGKILL)
    assert "exit status -9; starting again" in errors
    first, second = lives(tmp_path)
    assert SAVE_EVERY <= second["first"] <= first["step"]
    assert second["first"] % SAVE_EVERY == 0 and second["step"] == STEPS


@pytest.mark.slow
def test_when_one_process_is_asked_to_leave_all_save_the_same_step_and_the_job_goes_on(tmp_path):
    errors = train_and_interrupt(tmp_path, 3, signal.SIGTERM)
    assert "exit status 143; starting again" in errors
    saved = re.findall(r"preempted by SIGTERM; saved after step (\d+)", errors)
    first, second = lives(tmp_path)
    assert saved == [str(first["step"])] * 3
    assert second["first"] == first["step"] and second["step"] == STEPS
    assert second["lost_steps"] == 0


@pytest.mark.slow
def test_four_processes_train_as_one_does(tmp_path):
    """Processes share out rows and parameters, and pass keys and values around a ring."""

    def losses(processes):
        workdir = tmp_path / str(processes)
        command = [sys.executable, "-m", "launch.processes", f"--processes={processes}", "--"]
        command += [f"--workdir={workdir}", "--config=configs/dit_xl.py:smoke"]
        command += ["--config.mesh.fsdp=2", "--config.mesh.ring=2", "--config.steps=3"]
        command += ["--config.sample.prompts=()"]
        command += ["--config.eval_every=3", f"--config.mesh.cpu_devices={4 // processes}"]
        environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
        subprocess.run(command, env=environment, check=True, timeout=400)
        return [line["loss"] for line in read_metrics(workdir) if line["kind"] == "train"]

    alone = losses(1)
    assert len(alone) == 3 and losses(4) == pytest.approx(alone, rel=1e-5)
