import json
import struct

import jax
import pytest
from tensorboardX.proto.event_pb2 import Event

from videodit import metrics
from videodit.metrics import MetricWriter, StepTimer, read_metrics


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test sets: clock["now"] = seconds."""
    state = {"now": 0.0}
    monkeypatch.setattr(metrics.time, "perf_counter", lambda: state["now"])
    return state


def scalars(folder):
    """(tag, step, value) of every scalar in a folder of TensorBoard files (TFRecord framing)."""
    for file in sorted(folder.glob("events*")):
        data, at = file.read_bytes(), 0
        while at < len(data):
            (size,) = struct.unpack_from("<Q", data, at)
            event = Event.FromString(data[at + 12 : at + 12 + size])
            at += 12 + size + 4
            for value in event.summary.value:
                yield value.tag, event.step, pytest.approx(value.simple_value)


def test_a_write_reaches_the_screen_the_file_and_tensorboard(tmp_path, capsys):
    writer = MetricWriter(tmp_path / "run", 100)
    writer.write(10, "train", {"loss": 0.5, "tokens_per_second": 12345, "seconds_left": 100})
    writer.close()
    line = capsys.readouterr().out
    assert all(text in line for text in ("10/100", "loss 0.5", "12.3k tokens/s", "1:40 left"))
    (record,) = read_metrics(tmp_path / "run")
    assert (record["step"], record["kind"], record["loss"]) == (10, "train", 0.5)
    assert ("train/loss", 10, 0.5) in list(scalars(tmp_path / "run" / "tensorboard"))


def test_a_line_starts_with_the_loss_and_joins_standard_errors():
    values = {"gain": 0.25, "gain_stderr": 0.0104, "loss": 2.0}
    values |= {"loss_at_0.5": 1.0, "following_color": 0.3}  # too many for people
    line = metrics.format_line(5, 100, "eval", values)
    assert line == "eval    5/100  loss 2  gain 0.25 ± 0.01"


def test_a_line_is_on_disk_before_the_run_ends(tmp_path):
    writer = MetricWriter(tmp_path, 100)
    writer.write(1, "eval", {"loss": 2.0})
    assert json.loads((tmp_path / "metrics.jsonl").read_text())["loss"] == 2.0
    writer.close()


def test_resuming_writes_no_step_twice(tmp_path):
    first = MetricWriter(tmp_path, 40)
    for step in (10, 20, 30):
        first.write(step, "train", {"loss": 1.0})
    first.close()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write("\0" * 9 + "\n" + '{"step": 5}\n')  # which a file system may leave
        file.write('{"step": 35, "ki')  # killed in the middle of a line
    second = MetricWriter(tmp_path, 40, resume_step=20)
    for step in (30, 40):
        second.write(step, "train", {"loss": 2.0})
    second.close()
    assert [(r["step"], r["loss"]) for r in read_metrics(tmp_path)] == [
        (10, 1.0),
        (20, 1.0),
        (30, 2.0),
        (40, 2.0),
    ]


def test_a_new_run_drops_the_lines_of_an_old_one(tmp_path):
    for loss in (1.0, 2.0):
        writer = MetricWriter(tmp_path, 40)
        writer.write(0, "eval", {"loss": loss})
        writer.close()
    assert [line["loss"] for line in read_metrics(tmp_path)] == [2.0]


def test_only_process_0_writes(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    writer = MetricWriter(tmp_path / "run", 10)
    writer.write(1, "train", {"loss": 1.0})
    writer.close()
    assert not (tmp_path / "run").exists() and capsys.readouterr().out == ""


def test_speed_is_of_the_last_window_only(clock):
    timer = StepTimer(0, 1000, window=10)
    clock["now"] = 100.0  # the first step compiles
    timer.update(1, 64)
    for step in range(2, 32):
        clock["now"] += 0.5
        speed = timer.update(step, 64)
    assert speed["step_seconds"] == pytest.approx(0.5)
    assert speed["tokens_per_second"] == pytest.approx(128)
    assert speed["seconds_left"] == pytest.approx(0.5 * (1000 - 31))


def test_pauses_do_not_count(clock):
    timer = StepTimer(100, 110)
    clock["now"] = 2.0
    timer.update(102, 20)
    clock["now"] = 62.0
    timer.pause(60.0)
    clock["now"] = 64.0
    assert timer.update(104, 20) == pytest.approx(
        {"step_seconds": 1.0, "tokens_per_second": 10.0, "seconds_left": 6.0}
    )


@pytest.mark.parametrize(
    "function, value, text",
    [
        (metrics.format_seconds, 7.3, "7 s"),
        (metrics.format_seconds, 59.7, "1:00"),
        (metrics.format_seconds, 3700, "1:01:40"),
        (metrics.format_count, 950, "950"),
        (metrics.format_count, 999_700, "1M"),
        (metrics.format_count, 5_600_000, "5.6M"),
    ],
)
def test_numbers_for_people(function, value, text):
    assert function(value) == text
