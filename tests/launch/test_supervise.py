import re
import signal
import subprocess
import sys
import time

import pytest

from launch import supervise as supervise_module
from launch.supervise import HEALTHY, USER_ERROR, until_success


class Running:
    signal = 0


def statuses(*values):
    left = list(values)
    return lambda: left.pop(0)


@pytest.mark.parametrize(
    "attempts, restarts, status",
    [
        ((1, -9, 0), 5, 0),
        ((1, USER_ERROR), 5, USER_ERROR),
        ((1, 143), 5, 143),
        ((1, 3, 4, 0), 2, 4),
    ],
    ids=["until it succeeds", "a user's error is final", "left", "given up"],
)
def test_how_it_ends(attempts, restarts, status):
    found = until_success(statuses(*attempts), Running(), restarts=restarts, final=(143,), pause=0)
    assert found == status


def test_pauses_grow_with_failures_in_a_row_up_to_a_limit(monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr(supervise_module.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(supervise_module.time, "sleep", lambda s: now.__setitem__(0, now[0] + s))
    attempts = statuses(*[1] * 9, 0)

    def attempt():
        status = attempts()
        now[0] += HEALTHY + 1 if len(left) == 3 else 1  # the seventh runs for long
        left.pop()
        return status

    left = list(range(10))
    assert until_success(attempt, Running(), restarts=20) == 0
    pauses = re.findall(r"starting again in (\d+) s", capsys.readouterr().err)
    assert pauses == ["5", "10", "20", "40", "80", "160", "300", "5", "10"]


def supervise(*arguments, **options):
    command = [sys.executable, "-m", "launch.supervise", *arguments]
    return subprocess.Popen(command, text=True, stdout=subprocess.PIPE, **options)


def test_a_signal_reaches_the_command_which_is_not_started_again():
    child = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: (print('saved', flush=True), sys.exit(7)))\n"
        "print('ready', flush=True)\n"
        "time.sleep(60)"
    )
    process = supervise("--", sys.executable, "-c", child)
    assert process.stdout.readline() == "ready\n"
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=20)
    assert (output, process.returncode) == ("saved\n", 7)
    assert time.monotonic() - began < 10


def test_a_dry_run_prints_the_command():
    output, _ = supervise("--dry_run", "--", "echo", "a b").communicate(timeout=20)
    assert output == "echo 'a b'\n"
