"""A real training of four processes, one of which is killed."""

import json
import os
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


@pytest.mark.slow
def test_a_killed_process_brings_the_job_back_at_the_right_step(tmp_path):
    command = [
        sys.executable,
        "-m",
        "launch.processes",
        "--processes=4",
        "--",
        f"--workdir={tmp_path}",
    ]
    command += ["--config=configs/demo_autoencoder.py:smoke", "--config.mesh.data=4"]
    command += ["--config.data.batch_rows=4", "--config.data.rows_per_window=4"]
    command += [f"--config.steps={STEPS}", f"--config.eval_every={STEPS}"]
    command += [f"--config.save_every={SAVE_EVERY}"]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    job = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 300
    while not any(line["step"] > SAVE_EVERY + 1 for line in read_metrics(tmp_path)):
        assert job.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
    victim = next(pid for pid in children(job.pid) if process_number(pid) == "2")
    os.kill(victim, signal.SIGKILL)
    _, errors = job.communicate(timeout=400)
    assert job.returncode == 0, errors
    assert "exit status -9; starting again" in errors
    steps = [line["step"] for line in read_metrics(tmp_path) if line["kind"] == "train"]
    assert steps == list(range(1, STEPS + 1))
    lives = [json.loads(line) for line in (tmp_path / FILE).read_text().splitlines()]
    assert len({life["process"] for life in lives}) == 2
    assert lives[-1]["first"] >= SAVE_EVERY and lives[-1]["first"] % SAVE_EVERY == 0
    assert lives[-1]["step"] == STEPS and lives[-1]["lost_steps"] >= 0
