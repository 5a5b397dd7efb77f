import logging

import jax
import pytest

from videodit.config import ComputeConfig
from videodit.nn import attention, kernel_check
from videodit.nn.kernels import Choice
from videodit.nn.plain_attention import BLOCKED, masked_attention


def as_kernel(monkeypatch, kernel):
    """Takes `kernel` for the splash kernel, on a machine that has it."""
    monkeypatch.setitem(attention.IMPLEMENTATIONS, "splash", kernel)
    for module in (attention, kernel_check):
        choose = lambda name: Choice("splash" if name == "auto" else name, "it is fast")
        monkeypatch.setattr(module, "resolve", choose)


def test_a_kernel_that_agrees_is_used(monkeypatch, caplog):
    as_kernel(monkeypatch, masked_attention)
    caplog.set_level(logging.INFO)
    assert kernel_check.settle(ComputeConfig()).attention == "splash"
    assert "attention: splash, because it is fast" in caplog.text


def fails(*arguments):
    raise RuntimeError("no such unit\nand more")


def wrong_gradient(q, k, v, *ids):
    more = k - jax.lax.stop_gradient(k)  # 0, with a gradient of 1
    return masked_attention(q, k, v, *ids) + more.sum(1, keepdims=True)


@pytest.mark.parametrize(
    "kernel, message",
    [
        (fails, "RuntimeError: no such unit"),
        (wrong_gradient, "self-attention gradient of k is wrong by"),
    ],
)
def test_a_kernel_that_fails_makes_place_with_a_warning(monkeypatch, caplog, kernel, message):
    packs = kernel_check._packs()
    monkeypatch.setattr(kernel_check, "_packs", lambda: dict([next(iter(packs.items()))]))
    as_kernel(monkeypatch, kernel)
    assert kernel_check.settle(ComputeConfig()).attention == "blocked"
    assert f"attention: blocked, because splash failed its check: {message}" in caplog.text
    assert "and more" not in caplog.text


def test_where_keys_travel_the_kernel_is_tried_on_them(monkeypatch, caplog, mesh):
    packs = kernel_check._packs()
    monkeypatch.setattr(kernel_check, "_packs", lambda: dict([next(iter(packs.items()))]))
    as_kernel(monkeypatch, masked_attention)
    wrong = BLOCKED._replace(forward=lambda q, *others: (0 * q, 0 * q[..., 0]))
    caplog.set_level(logging.INFO)
    for pieces, expected in ((BLOCKED, "splash"), (wrong, "blocked")):
        monkeypatch.setitem(attention.RING, "splash", pieces)
        with mesh(ring=8):
            assert kernel_check.settle(ComputeConfig()).attention == expected
    assert "splash failed its check: self-attention output is wrong by 1" in caplog.text


def test_on_a_cpu_nothing_is_checked(monkeypatch, caplog):
    monkeypatch.setattr(kernel_check, "check", fails)
    caplog.set_level(logging.INFO)
    assert kernel_check.settle(ComputeConfig()).attention == "blocked"
    assert "attention: blocked, because no kernel is known for a cpu" in caplog.text


def test_weights_may_be_used_where_their_kernel_is_not():
    assert kernel_check.settle_anew(ComputeConfig(attention="splash")).attention == "blocked"
