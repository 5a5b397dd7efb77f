"""A run whose loss is not finite: what is skipped, what stays on disk, and how it ends."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy_task import ToyTask, toy

from videodit.divergence import Diverged
from videodit.metrics import read_metrics
from videodit.train import train


def broken(monkeypatch, where):
    """Makes the toy's loss NaN at the steps (counted from 0) that `where` says."""
    loss = ToyTask.loss

    def broken_loss(self, params, frozen, batch, weights, key, step):
        value, parts = loss(self, params, frozen, batch, weights, key, step)
        return value + jnp.where(where(step), math.nan, 0.0), parts

    monkeypatch.setattr(ToyTask, "loss", broken_loss)


def test_a_run_that_diverges_stops_and_keeps_its_last_sound_checkpoint(tmp_path, monkeypatch):
    """The loss of step 5 is finite: it is that of the parameters after 4. That of step 6 is not."""
    broken(monkeypatch, lambda step: step >= 5)
    with pytest.raises(Diverged) as error:
        train(toy(steps=30, eval_every=30, optim__max_skipped=6), tmp_path)
    message = str(error.value)
    assert message.startswith("stopped after step 11: the loss or its gradient was not finite in 6")
    assert "The clips of this step: synthetic" in message and "\n" not in message
    assert f"The last sound checkpoint: {tmp_path}/checkpoints/4." in message
    kept = {int(path.name) for path in (tmp_path / "checkpoints").glob("[0-9]*")}
    assert kept == {4, 8, 10}
    lines = [line for line in read_metrics(tmp_path) if line["kind"] == "train"]
    assert [line["skipped"] for line in lines] == [0] * 5 + [1] * 5
    with pytest.raises(Diverged, match=r"after step 16: .*checkpoints/4"):  # also after a restart
        train(toy(steps=30, eval_every=30, optim__max_skipped=6), tmp_path)


def test_steps_that_are_skipped_now_and_then_are_counted_and_do_not_end_a_run(
    tmp_path, monkeypatch, caplog
):
    broken(monkeypatch, lambda step: step % 3 == 1)
    state = train(toy(steps=8, log_every=4, optim__max_skipped=2), tmp_path)
    lines = [line for line in read_metrics(tmp_path) if line["kind"] == "train"]
    assert [(line["step"], line["skipped"]) for line in lines] == [(4, 1), (8, 2)]
    assert [r.message.split(":")[0] for r in caplog.records if "skipped" in r.message] == [
        "step 2",
        "step 5",
        "step 8",
    ]
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(jax.device_get(state)))
