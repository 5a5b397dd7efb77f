import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from videodit.config import ConfigError
from videodit.curation.processes import in_processes

ROOT = Path(__file__).parents[2]
SLEEPERS = """
import os, sys, time
from pathlib import Path
from videodit.curation.processes import in_processes

def work(folder):
    Path(folder, str(os.getpid())).touch()
    time.sleep(60)

if __name__ == "__main__":
    list(in_processes(work, [sys.argv[1]] * 2, 2))
"""


def test_every_item_is_worked_on_once():
    assert sorted(in_processes(abs, range(-9, 0), 2)) == list(range(1, 10))
    assert list(in_processes(abs, [-2, 1], 1)) == [2, 1] and not list(in_processes(abs, [], 2))


def test_an_error_is_passed_on():
    with pytest.raises(ZeroDivisionError):
        list(in_processes((1).__truediv__, [1, 0, 2], 2))
    with pytest.raises(ConfigError, match="workers=-1: expected at least 0"):
        list(in_processes(abs, [1], -1))


def alive(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return "zombie" not in Path(f"/proc/{process}/status").read_text()


def wait_for(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="asks Linux which processes there are")
def test_workers_end_with_a_killed_parent(tmp_path):
    script, started = tmp_path / "sleepers.py", tmp_path / "started"
    script.write_text(SLEEPERS)
    started.mkdir()
    parent = subprocess.Popen(
        [sys.executable, script, started], env=os.environ | {"PYTHONPATH": str(ROOT)}
    )
    wait_for(lambda: len(list(started.iterdir())) == 2)
    parent.kill()
    parent.wait()
    workers = [int(path.name) for path in started.iterdir()]
    wait_for(lambda: not any(map(alive, workers)))
