import json

import jax
import jax.numpy as jnp
import pytest

from videodit import goodput
from videodit.goodput import Goodput, compilation, device_metrics


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
    assert run.data_wait() == 1 / 11 and run.data_wait() == 0
    with run.spent_on("evaluate"):
        clock["now"], clock["c"]["seconds"] = 14.0, 5.0
    clock["now"], clock["c"]["seconds"] = 20.0, 6.0
    run.write(tmp_path, first=0, step=7, lost=2)
    (line,) = (tmp_path / goodput.FILE).read_text().splitlines()
    line = json.loads(line)
    assert (line["start"], line["compile"], line["data"], line["evaluate"]) == (6, 6, 1, 2)
    assert (line["train"], line["total"], line["goodput"]) == (5, 20, 5 / 20)
    assert (line["first"], line["step"], line["lost_steps"]) == (0, 7, 2)


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
        found = device_metrics(flops=8e12, step_seconds=2.0)
    assert (found["tflops"], found["mfu"]) == (2.0, 0.5)
