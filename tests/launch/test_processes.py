import subprocess
import sys
import threading
import time

import pytest

from launch import processes as processes_module
from launch.processes import environments, run_together
from launch.supervise import Stopped


class Group(Stopped):
    def __init__(self):  # signals are left to pytest
        self.signal, self.processes = 0, []


def test_each_process_knows_which_it_is():
    found = environments(3, 99, one_gpu_each=True)
    assert [e["JAX_PROCESS_ID"] for e in found] == ["0", "1", "2"]
    assert [e["CUDA_VISIBLE_DEVICES"] for e in found] == ["0", "1", "2"]
    assert {e["JAX_COORDINATOR_ADDRESS"] for e in found} == {"localhost:99"}
    assert {e["JAX_NUM_PROCESSES"] for e in found} == {"3"}


def test_when_one_dies_the_others_are_ended():
    code = (
        "import os, sys, time; os.environ['JAX_PROCESS_ID'] == '1' and sys.exit(5); time.sleep(60)"
    )
    began = time.monotonic()
    assert run_together([sys.executable, "-c", code], Group(), 3, False) == 5
    assert time.monotonic() - began < 20


@pytest.mark.parametrize("seconds, status", [(1.5, 143), (60, -9)], ids=["it follows", "it hangs"])
def test_after_a_signal_a_process_that_does_not_follow_the_others_is_killed(
    monkeypatch, seconds, status
):
    monkeypatch.setattr(processes_module, "GRACE", 3.0)
    code = (
        "import os, signal, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        f"time.sleep({seconds} if os.environ['JAX_PROCESS_ID'] == '0' else 0.5)\n"
        "sys.exit(143)"
    )
    group, began = Group(), time.monotonic()
    threading.Timer(0.2, lambda: setattr(group, "signal", 15)).start()
    assert run_together([sys.executable, "-c", code], group, 2, False) == 143
    assert [process.returncode for process in group.processes] == [status, 143]
    assert time.monotonic() - began < 20


def test_all_at_their_end_is_success():
    assert run_together([sys.executable, "-c", "pass"], Group(), 3, False) == 0


def test_a_dry_run_prints_every_process():
    command = [sys.executable, "-m", "launch.processes", "--processes=2", "--dry_run", "--"]
    done = subprocess.run([*command, "--config=c"], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert len(lines) == 2 and all(line.endswith("-m videodit.main --config=c") for line in lines)
    assert "JAX_PROCESS_ID=1" in lines[1]
