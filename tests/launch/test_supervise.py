import re
import signal
import subprocess
import sys
import time

import pytest

from launch import supervise as supervise_module
from launch.supervise import HEALTHY, until_success
from videodit.config.exits import DIVERGED, FULL_DISK, INTERRUPTED, TABLE, USER_ERROR


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
        ((-11, DIVERGED), 5, DIVERGED),
        ((1, INTERRUPTED), 5, INTERRUPTED),
        ((-2,), 5, -2),  # killed by SIGINT
        ((1, 143), 5, 143),
        ((1, 5, 4, 0), 2, 4),
    ],
    ids=["success", "user's error", "diverged", "Ctrl-C", "SIGINT", "left", "given up"],
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


def test_after_a_full_disk_it_waits_for_long(monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr(supervise_module.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(supervise_module.time, "sleep", lambda s: now.__setitem__(0, now[0] + s))
    assert until_success(statuses(FULL_DISK, 1, 0), Running(), restarts=5) == 0
    assert re.findall(r"again in (\d+) s", capsys.readouterr().err) == ["300", "10"]
    assert now[0] >= next(row.pause for row in TABLE if row.status == FULL_DISK) + 10


def supervise(*arguments, **options):
    command = [sys.executable, "-m", "launch.supervise", *arguments]
    return subprocess.Popen(command, text=True, stdout=subprocess.PIPE, **options)


def child(status: int) -> str:
    """A program that saves and leaves at SIGTERM."""
    return (
        "import signal, sys, time\n"
        f"leave = lambda *_: (print('saved', flush=True), sys.exit({status}))\n"
        "signal.signal(signal.SIGTERM, leave)\n"
        "print('ready', flush=True)\n"
        "time.sleep(60)"
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=["TERM", "HUP"])
def test_a_signal_reaches_the_command_which_is_not_started_again(number):
    """SIGHUP, of a terminal that closes, as SIGTERM."""
    heed = lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL)  # where the tests are under nohup
    process = supervise("--", sys.executable, "-c", child(status=7), preexec_fn=heed)
    assert process.stdout.readline() == "ready\n"
    began = time.monotonic()
    process.send_signal(number)
    output, _ = process.communicate(timeout=20)
    assert (output, process.returncode) == ("saved\n", 7)
    assert time.monotonic() - began < 10


def test_nohup_is_heeded():
    ignore = lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    process = supervise("--", sys.executable, "-c", child(status=7), preexec_fn=ignore)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGHUP)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=1)
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=20)[0] == "saved\n"


def test_a_dry_run_prints_the_command():
    output, _ = supervise("--dry_run", "--", "echo", "a b").communicate(timeout=20)
    assert output == "echo 'a b'\n"


@pytest.mark.parametrize(
    "arguments, line",
    [
        (["--", "nosuchcommand"], "command='nosuchcommand': expected a program"),
        (["--final=143,abc", "--", "true"], "--final=['143', 'abc']: expected numbers"),
        (["--nosuchflag", "--", "true"], "Unknown command line flag 'nosuchflag'"),
        ([], "expected -- and the command to run"),
    ],
)
def test_what_a_user_can_mend_is_one_line(arguments, line):
    process = supervise(*arguments, stderr=subprocess.PIPE)
    output, errors = process.communicate(timeout=20)
    assert process.returncode == 2 and not output
    assert errors.startswith(f"error: {line}") and errors.count("\n") == 1


def test_statuses_of_final_are_final():
    process = supervise("--final=142,143", "--", "sh", "-c", "exit 143")
    assert process.wait(timeout=20) == 143
