import signal
import subprocess
import sys
import time

import pytest

from launch.supervise import USER_ERROR, until_success


class Running:
    signal = 0


def statuses(*values):
    left = list(values)
    return lambda: left.pop(0)


@pytest.mark.parametrize(
    "attempts, restarts, status",
    [((1, -9, 0), 5, 0), ((1, USER_ERROR), 5, USER_ERROR), ((1, 3, 4, 0), 2, 4)],
    ids=["until it succeeds", "a user's error is final", "given up"],
)
def test_how_it_ends(attempts, restarts, status):
    found = until_success(statuses(*attempts), Running(), restarts=restarts, pause=0)
    assert found == status


def test_pauses_grow_with_failures_in_a_row(capsys):
    until_success(statuses(1, 1, 1, 0), Running(), restarts=5, pause=0.01)
    assert capsys.readouterr().err.count("exit status 1; starting again") == 3


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
