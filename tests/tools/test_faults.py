import pytest

from launch.supervise import Stopped
from tools.faults import compare


class Deaf(Stopped):
    """Leaves signals to pytest."""

    def __init__(self):
        self.signal, self.processes = 0, []


@pytest.mark.slow
def test_a_run_that_is_killed_and_stopped_ends_as_the_unbroken_one(tmp_path, monkeypatch):
    monkeypatch.setattr("tools.faults.Stopped", Deaf)
    assert compare(tmp_path, kills=3, terms=1, full=False, steps=24) == []
