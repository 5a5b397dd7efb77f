from collections import deque

import jax
import pytest

from videodit.profiling import REQUEST, STEPS, Profiler


@pytest.fixture
def traces(monkeypatch):
    """What would be traced: ("start", folder) and ("stop",)."""
    calls = []
    monkeypatch.setattr(jax.profiler, "start_trace", lambda folder: calls.append(("start", folder)))
    monkeypatch.setattr(jax.profiler, "stop_trace", lambda: calls.append(("stop",)))
    return calls


class Pending:
    """What a step returns that may still be running."""

    def __init__(self, calls):
        self.calls = calls

    def block_until_ready(self):
        self.calls.append(("wait",))


def test_a_profile_is_of_whole_steps(tmp_path, traces):
    profiler, pending = Profiler(tmp_path), deque([Pending(traces)])
    profiler.before(1, pending)
    (tmp_path / REQUEST).write_text("1")
    profiler.before(2, pending)
    profiler.before(3, pending)
    assert [name for name, *_ in traces] == ["wait", "start", "wait", "stop"]


@pytest.mark.parametrize(
    "text, steps", [("2\n", 2), ("", STEPS), ("0", STEPS), ("many", STEPS), ("²", STEPS)]
)
def test_as_many_steps_are_traced_as_asked_for(tmp_path, traces, text, steps):
    profiler = Profiler(tmp_path)
    profiler.before(6, ())
    (tmp_path / REQUEST).write_text(text)
    for step in range(7, 7 + steps):
        profiler.before(step, ())
        assert traces == [("start", str(tmp_path / "profiles" / "7"))]
    profiler.before(7 + steps, ())
    assert traces[1:] == [("stop",)] and not (tmp_path / REQUEST).exists()
    profiler.before(8 + steps, ())
    profiler.close()
    assert len(traces) == 2


def test_a_profile_ends_with_the_run_and_one_that_cannot_begin_does_not_stop_it(
    tmp_path, traces, monkeypatch, caplog
):
    profiler = Profiler(tmp_path)
    (tmp_path / REQUEST).write_text("5")
    profiler.before(1, ())
    profiler.close()
    assert traces[1:] == [("stop",)]

    def busy(folder):
        raise RuntimeError("another profile runs")

    monkeypatch.setattr(jax.profiler, "start_trace", busy)
    (tmp_path / REQUEST).write_text("5")
    profiler.before(2, ())
    profiler.before(7, ())
    profiler.close()
    assert len(traces) == 2 and "no profile: another profile runs" in caplog.text
