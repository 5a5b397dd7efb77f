import signal
from pathlib import Path

import pytest

from videodit.config.exits import TABLE, decisive, is_final, least_pause

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    "status, final",
    [
        (0, True),
        (2, True),  # a user's error
        (3, True),  # diverged: the same steps would diverge again
        (130, True),  # Ctrl-C
        (-signal.SIGINT, True),  # as subprocess has it
        (1, False),  # any failure
        (75, False),  # a full disk
        (143, False),  # SIGTERM, when a machine is taken away
        (-signal.SIGTERM, False),
        (-signal.SIGKILL, False),  # out of memory
        (137, False),
        (-signal.SIGSEGV, False),
    ],
)
def test_what_is_worth_a_retry(status, final):
    assert is_final(status) == final


def test_a_full_disk_alone_needs_a_pause():
    assert {row.status for row in TABLE if least_pause(row.status)} == {75}


@pytest.mark.parametrize(
    "statuses, status",
    [
        ((0, 0), 0),
        ((0, -9), -9),
        ((-9, 143), -9),
        ((143, 2), 2),  # the others were ended
        ((-6, 75), 75),
        ((75, 3), 3),
    ],
)
def test_the_process_that_says_most_decides(statuses, status):
    assert decisive(statuses) == status


def test_each_status_is_documented_as_the_table_has_it():
    page = (ROOT / "docs" / "pods.md").read_text()
    for row in TABLE:
        again = "no" if row.final else "yes"
        again += f", after {row.pause:g} s at least" if row.pause else ""
        assert f"| {row.status} | {row.meaning} | {again} |" in page
