import json
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import pytest

from videodit import goodput, metrics
from videodit.flops import Flops
from videodit.goodput import Goodput, begin_life, compilation, device_metrics, total_goodput
from videodit.metrics import MetricWriter


@pytest.fixture
def clock(monkeypatch):
    state = {"now": 0.0}
    monkeypatch.setattr(goodput.time, "perf_counter", lambda: state["now"])
    return state


def test_every_second_is_of_one_kind(clock, monkeypatch, tmp_path):
    monkeypatch.setattr(goodput, "compilation", lambda: clock.setdefault("c", {"seconds": 0.0}))
    run = Goodput()
    clock["now"], clock["c"]["seconds"] = 10.0, 4.0
    run.started()
    with run.spent_on("data"):
        clock["now"] = 11.0
    assert run.waits() == {"data_wait": 1 / 11, "save_wait": 0}
    with run.spent_on("save"):
        clock["now"], clock["c"]["seconds"] = 14.0, 5.0
    clock["now"], clock["c"]["seconds"] = 19.0, 6.0
    assert run.waits() == {"data_wait": 0, "save_wait": 2 / 8}
    clock["now"] = 20.0
    run.write(tmp_path, 7, {"began": 5})
    (line,) = (tmp_path / goodput.FILE).read_text().splitlines()
    line = json.loads(line)
    assert (line["start"], line["compile"], line["data"], line["save"]) == (6, 6, 1, 2)
    assert (line["train"], line["total"], line["goodput"]) == (5, 20, 5 / 20)
    assert (line["began"], line["step"]) == (5, 7)


def test_the_processes_of_a_run_add_up_to_its_wall_time(monkeypatch, tmp_path):
    clock = {"now": 1000.0}
    for module in (goodput, metrics):
        monkeypatch.setattr(module.time, "time", lambda: clock["now"])
        monkeypatch.setattr(module.time, "perf_counter", lambda: clock["now"])

    def live(first, trained, saves):
        """Starts for 2 s, trains a second a step from `first` on, saves, and is killed."""
        run = Goodput()
        clock["now"] += 2
        told = begin_life(tmp_path, first, run.began)
        writer = MetricWriter(tmp_path, 100, resume_step=first)
        run.started()
        for step in range(first + 1, trained + 1):
            clock["now"] += 1
            writer.write(step, "train", {"loss": 1.0})
            if step in saves:
                run.write(tmp_path, step, told)
        writer.close()
        return told["lost_steps"], told["lost"], told["restart"]

    assert live(0, trained=13, saves=(5, 10)) == (0, 0, 0)
    clock["now"] += 30
    assert live(10, trained=20, saves=(15, 20)) == (3, 3, 30)
    clock["now"] += 7
    assert live(15, trained=24, saves=(24,)) == (5, 5, 7)  # the save of step 20 did not end
    total = total_goodput(tmp_path)
    assert total["total"] == clock["now"] - 1000 == 13 + 30 + 10 + 7 + 9 + 3 * 2
    assert (total["train"], total["lost"], total["restart"]) == (10 + 5 + 9, 3 + 5, 37)
    assert total["start"] == 6
    assert total["goodput"] == 24 / total["total"]


def test_a_crash_at_any_byte_of_a_line_costs_that_line(tmp_path, clock):
    run, life = Goodput(), begin_life(tmp_path, 0, 0.0)
    for step in (1, 2):
        clock["now"] += 1
        run.write(tmp_path, step, life)
    path = tmp_path / goodput.FILE
    whole, first = path.read_bytes(), path.read_bytes().index(b"\n") + 1
    path.write_bytes(whole[:first])
    expected = total_goodput(tmp_path)
    for end in (*range(first, len(whole) - 1, 7), len(whole) - 2):
        for damage in (b"", b"\0" * 8):
            path.write_bytes(whole[:end] + damage)
            assert total_goodput(tmp_path) == expected
            assert begin_life(tmp_path, 1, 9.0)["first"] == 1
    run.write(tmp_path, 3, life)
    assert [line["step"] for line in goodput._read(tmp_path)] == [1, 3]


def test_compilations_are_counted():
    before = compilation()["count"]
    double = jax.jit(lambda x: 2 * x + before)
    double(jnp.ones(3))
    double(jnp.ones(3))
    jax.block_until_ready(double(jnp.ones(4)))
    assert compilation()["count"] >= before + 2
    after = compilation()["count"]
    double(jnp.ones(3))
    assert compilation()["count"] == after


def test_utilisation_is_of_the_devices_of_the_mesh(monkeypatch):
    kind = jax.local_devices()[0].device_kind
    monkeypatch.setitem(goodput.PEAK_FLOPS, kind, 4e12)
    mesh = jax.make_mesh((2,), ("data",))
    with jax.set_mesh(mesh):
        found = device_metrics(Flops(useful=8e12, computed=12e12), step_seconds=2.0)
    assert (found["tflops"], found["mfu"], found["hfu"]) == (2.0, 0.5, 0.75)


def test_an_accelerator_of_unknown_peak_is_named_once(monkeypatch, caplog):
    chip = SimpleNamespace(platform="gpu", device_kind="NVIDIA X1", memory_stats=lambda: None)
    monkeypatch.setattr(jax, "local_devices", lambda: [chip])
    for _ in range(2):
        assert "mfu" not in device_metrics(Flops(8e12, 8e12), 1.0)
    assert [r.getMessage() for r in caplog.records] == [
        "no MFU: goodput.PEAK_FLOPS does not contain the peak of 'NVIDIA X1'"
    ]
