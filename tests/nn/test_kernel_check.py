import logging

import jax
import numpy as np
import pytest

from videodit.config import ComputeConfig
from videodit.nn import attention, kernel_check, splash
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
    assert kernel_check.resolve_attention(ComputeConfig()).attention == "splash"
    assert "attention: splash, because it is fast" in caplog.text


def fails(*arguments):
    raise RuntimeError("no such unit\nand more")


def wrong_gradient(q, k, v, segments):
    more = k - jax.lax.stop_gradient(k)  # 0, with a gradient of 1
    return masked_attention(q, k, v, segments) + more.sum(1, keepdims=True)


@pytest.mark.parametrize(
    "kernel, message",
    [
        (fails, "RuntimeError: no such unit"),
        (wrong_gradient, "self-attention gradient of k is wrong by"),
    ],
)
def test_a_kernel_that_fails_makes_place_with_a_warning(monkeypatch, caplog, kernel, message):
    packs = kernel_check._packs(causal=False)
    monkeypatch.setattr(kernel_check, "_packs", lambda causal: dict([next(iter(packs.items()))]))
    as_kernel(monkeypatch, kernel)
    assert kernel_check.resolve_attention(ComputeConfig()).attention == "blocked"
    assert f"attention: blocked, because splash failed its check: {message}" in caplog.text
    assert "and more" not in caplog.text


def test_where_keys_travel_the_kernel_is_tried_on_them(monkeypatch, caplog, mesh):
    packs = kernel_check._packs(causal=False)
    monkeypatch.setattr(kernel_check, "_packs", lambda causal: dict([next(iter(packs.items()))]))
    as_kernel(monkeypatch, masked_attention)
    wrong = BLOCKED._replace(forward=lambda q, *others: (0 * q, 0 * q[..., 0]))
    caplog.set_level(logging.INFO)
    for pieces, expected in ((BLOCKED, "splash"), (wrong, "blocked")):
        monkeypatch.setitem(attention.RING, "splash", pieces)
        with mesh(ring=8):
            assert kernel_check.resolve_attention(ComputeConfig()).attention == expected
    expected = "splash failed its check: along a ring: self-attention output is wrong by 1"
    assert expected in caplog.text


def test_one_device_cannot_try_a_ring(monkeypatch, caplog, mesh):
    monkeypatch.setattr(
        kernel_check, "check", lambda name, ring=1, causal=False: "wrong" * (ring > 1)
    )
    monkeypatch.setattr(jax, "local_devices", lambda: jax.devices()[:1])
    as_kernel(monkeypatch, masked_attention)
    caplog.set_level(logging.INFO)
    with mesh(ring=8):
        assert kernel_check.resolve_attention(ComputeConfig()).attention == "splash"
    assert "splash is not tried along the ring, on a process of one device" in caplog.text


def test_the_pack_has_blocks_of_the_kernel_that_are_left_out():
    ids = kernel_check._packs(causal=False)["self-attention to parts"].query
    blocks = ids[0, : 2 * splash.BLOCK].reshape(2, splash.BLOCK)
    assert not splash.live_blocks(blocks, ids[:1, 2 * splash.BLOCK :])[0, 0]
    halves = ids[:1].reshape(2, -1)
    np.testing.assert_array_equal(splash.live_blocks(halves, halves), np.eye(2, dtype=bool))


def test_on_a_cpu_nothing_is_checked(monkeypatch, caplog):
    monkeypatch.setattr(kernel_check, "check", fails)
    caplog.set_level(logging.INFO)
    assert kernel_check.resolve_attention(ComputeConfig()).attention == "blocked"
    assert "attention: blocked, because no kernel is known for a cpu" in caplog.text


def test_weights_may_be_used_where_their_kernel_is_not():
    assert (
        kernel_check.resolve_attention_anew(ComputeConfig(attention="splash")).attention
        == "blocked"
    )
