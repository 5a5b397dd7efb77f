import errno
import os
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from videodit import endings
from videodit.checkpoint import Checkpointer

ROOT = Path(__file__).parents[1]


def full(number):
    """An error as libraries raise it in a thread that writes."""
    error = ValueError("UNKNOWN: Error writing local file")
    error.__cause__ = OSError(number, os.strerror(number), "/a/file")
    return error


@pytest.mark.parametrize(
    "error",
    [
        full(errno.ENOSPC),
        full(errno.EDQUOT),
        full(errno.EFBIG),
        ValueError("RESOURCE_EXHAUSTED: [OS error 28: ENOSPC No space left on device]"),
    ],
)
def test_a_full_disk_is_one_line(tmp_path, monkeypatch, capsys, error):
    (tmp_path / "checkpoints/12").mkdir(parents=True)
    (tmp_path / "checkpoints/14.orbax-checkpoint-tmp").mkdir()
    statuses = []
    monkeypatch.setattr(os, "_exit", statuses.append)
    with endings.one_line(str(tmp_path)):
        raise error
    lines = capsys.readouterr().err.splitlines()
    assert statuses == [75] and len(lines) == 1
    assert lines[0].startswith(f"error: {tmp_path}: no space left for ")
    assert f"saved after step 12 in {tmp_path}" in lines[0]


def test_other_errors_stay_what_they_are(tmp_path):
    with pytest.raises(OSError), endings.one_line(str(tmp_path)):
        raise PermissionError(errno.EACCES, "no")


def test_ctrl_c_before_the_first_save_says_so(tmp_path, capsys):
    with pytest.raises(SystemExit) as stop, endings.one_line(str(tmp_path)):
        raise KeyboardInterrupt
    assert stop.value.code == 130
    assert capsys.readouterr().err == f"stopped by SIGINT; nothing was saved in {tmp_path}\n"


def test_threads_say_nothing_of_a_full_disk(monkeypatch):
    told = []
    monkeypatch.setattr(threading, "excepthook", told.append)
    endings.hush_full_disks()
    for error in (full(errno.ENOSPC), ValueError("another")):
        threading.excepthook(threading.ExceptHookArgs((type(error), error, None, None)))
    assert [str(args.exc_value) for args in told] == ["another"]


FILLED = """
import resource, sys, time
import jax
from absl import logging
from videodit.checkpoint import Checkpointer
from videodit.endings import one_line
logging.use_absl_handler()
state = {"params": {str(i): jax.random.normal(jax.random.key(i), (300, 300)) for i in range(9)}}
with one_line(sys.argv[1]):
    checkpoints = Checkpointer(sys.argv[1])
    checkpoints.save(1, state)
    checkpoints._manager.wait_until_finished()
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, 2**16))  # bytes of a file
    checkpoints.save(2, state)
    while True:  # as the training loop does after each step
        checkpoints.check()
        time.sleep(0.05)
"""


@pytest.mark.slow
def test_a_disk_that_fills_during_a_save_is_one_line_and_the_checkpoint_before_stays(tmp_path):
    command = [sys.executable, "-c", FILLED, str(tmp_path)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert result.returncode == 75, result.stderr
    assert result.stderr.count("\n") == 1 and "Traceback" not in result.stderr
    assert result.stderr.startswith(f"error: {tmp_path}: no space left for its files (")
    assert f"saved after step 1 in {tmp_path}; the same command resumes" in result.stderr
    state = {"params": {str(i): np.zeros((300, 300), np.float32) for i in range(9)}}
    with closing(Checkpointer(tmp_path)) as checkpoints:
        assert checkpoints.restore(state)[1] == 1
