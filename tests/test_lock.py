"""Two runs never train in one workdir, and a lock that a dead process leaves does not last."""

import json
import os
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from videodit import lock
from videodit.config import ConfigError
from videodit.lock import FILE, WorkdirLock

ROOT = Path(__file__).parents[1]
HOLD = """
import sys, time
from videodit.lock import WorkdirLock
WorkdirLock(sys.argv[1], beat=0.05).take()
print("held", flush=True)
time.sleep(60)
"""


def quick(folder):
    return WorkdirLock(folder, beat=0.05, patience=0.6)


def elsewhere(folder):
    """The file as a process on another machine has left it."""
    holder = {"host": "node7", "boot": "b", "pid": 41, "since": "yesterday", "run": "r", "beat": 9}
    (folder / FILE).write_text(json.dumps(holder))


def test_a_second_run_is_refused_by_the_name_of_the_first(tmp_path):
    with closing(quick(tmp_path)) as first:
        first.take()
        first.take()  # again is no harm
        message = (
            rf"^--workdir='.*': another run \(host \S+, pid {os.getpid()}, since 20.*\) trains"
        )
        for _ in range(2):
            with closing(quick(tmp_path)) as second, pytest.raises(ConfigError, match=message):
                second.take()
        first.check()
    assert list(tmp_path.iterdir()) == []
    with closing(quick(tmp_path)) as third:
        third.take()


def test_a_workdir_that_is_not_there_is_not_made(tmp_path):
    with closing(quick(tmp_path / "run")) as held:
        held.take()
        assert not (tmp_path / "run").exists()
        (tmp_path / "run").mkdir()
        held.take()
        assert (tmp_path / "run" / FILE).exists()


def test_a_holder_on_another_machine_that_is_silent_is_dead(tmp_path, caplog):
    elsewhere(tmp_path)
    with closing(quick(tmp_path)) as held:
        held.take()
        assert json.loads((tmp_path / FILE).read_text())["pid"] == os.getpid()
    assert "another run (host node7, pid 41, since yesterday) holds the lock; wai" in caplog.text


@pytest.mark.parametrize("flock", [True, False])
def test_a_holder_on_another_machine_that_beats_is_alive(tmp_path, monkeypatch, flock):
    with closing(quick(tmp_path)) as first:
        if not flock:
            monkeypatch.setattr(lock.fcntl, "flock", lambda *_: exec("raise OSError(95, 'no')"))
        first.take()
        if flock:  # machines that do not see each other's
            lock.fcntl.flock(first._descriptor, lock.fcntl.LOCK_UN)
            monkeypatch.setattr(lock, "_machine", lambda: {"host": "node8", "boot": "c"})
        with closing(quick(tmp_path)) as second, pytest.raises(ConfigError, match="trains here"):
            second.take()


def test_a_run_whose_lock_was_taken_over_stops_before_it_saves(tmp_path):
    with closing(quick(tmp_path)) as first:
        first.take()
        elsewhere(tmp_path)
        first._thread.join(10)
        with pytest.raises(ConfigError, match=r"\(host node7, pid 41, .*\) has taken it over"):
            first.check()
    assert (tmp_path / FILE).exists()  # it is not ours


@pytest.mark.parametrize("content", [b"", b"{", b"[3]", b"\xff\x00"])
def test_a_file_that_says_nothing_is_taken_over(tmp_path, content):
    (tmp_path / FILE).write_bytes(content)
    with closing(quick(tmp_path)) as held:
        held.take()
        time.sleep(0.2)
        assert json.loads((tmp_path / FILE).read_text())["beat"] > 1


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / FILE).mkdir()
    with pytest.raises(
        ConfigError, match=rf"{FILE}: expected a file that can be written \(Is a dir"
    ):
        quick(tmp_path).take()


@pytest.mark.slow
def test_the_lock_of_a_killed_process_is_taken_over_at_once(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout.readline() == "held\n"
        with pytest.raises(ConfigError, match=rf"pid {child.pid}, since .*\) trains here"):
            WorkdirLock(tmp_path).take()
        child.kill()
    began = time.monotonic()
    with closing(WorkdirLock(tmp_path)) as held:
        held.take()
    assert time.monotonic() - began < 5
