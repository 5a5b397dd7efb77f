import os
import signal
import subprocess
import sys

import pytest
from toy_task import toy

from videodit.config.exits import INTERRUPTED
from videodit.metrics import MetricWriter
from videodit.preemption import Preempted, Preemption
from videodit.train import train


def test_sigterm_is_heard_until_it_is_closed():
    before = signal.getsignal(signal.SIGTERM)
    preemption = Preemption()
    assert not preemption.reached(1)
    os.kill(os.getpid(), signal.SIGTERM)
    assert preemption.reached(2)
    preemption.close()
    assert signal.getsignal(signal.SIGTERM) == before


def test_the_first_ctrl_c_is_heard_and_the_second_leaves(capsys):
    before = signal.getsignal(signal.SIGINT)
    preemption = Preemption()
    os.kill(os.getpid(), signal.SIGINT)
    assert preemption.reached(1)
    assert signal.getsignal(signal.SIGINT) == signal.SIG_DFL
    stop = preemption.preempted("saved after step 1")
    assert (str(stop), stop.status) == ("stopped by SIGINT; saved after step 1", 130)
    assert capsys.readouterr().err.startswith("SIGINT: saving after this step")
    preemption.close()
    assert signal.getsignal(signal.SIGINT) == before


def test_ctrl_c_saves_the_step_that_it_names(tmp_path, monkeypatch):
    def write(self, step, kind, values):
        original(self, step, kind, values)
        if (step, kind) == (2, "train"):
            os.kill(os.getpid(), signal.SIGINT)

    original = MetricWriter.write
    monkeypatch.setattr(MetricWriter, "write", write)
    with pytest.raises(Preempted, match=r"stopped by SIGINT; saved after step \d+ in ") as stop:
        train(toy(steps=50, save_every=1000), tmp_path)
    (saved,) = (tmp_path / "checkpoints").glob("[0-9]*")
    assert f"saved after step {saved.name} in {tmp_path}" in str(stop.value)
    assert stop.value.status == INTERRUPTED and 2 <= int(saved.name) <= 5


@pytest.mark.slow
def test_the_second_ctrl_c_ends_a_process_that_computes():
    code = (
        "from videodit.preemption import Preemption\n"
        "preemption = Preemption()\n"
        "print('ready', flush=True)\n"
        "while not preemption.reached(0): pass\n"
        "print('heard', flush=True)\n"
        "sum(range(10**11))"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    for line in ("ready\n", "heard\n"):
        assert process.stdout.readline() == line
        process.send_signal(signal.SIGINT)
    assert process.wait(timeout=10) == -signal.SIGINT
