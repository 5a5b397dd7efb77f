import numpy as np
import pytest

from tools.bench import train as bench_train
from tools.bench.train import kind_of, made_up_rows, packed_batch, padded_batches, shape_of
from videodit.config import ComputeConfig, ConfigError
from videodit.models.dit import SIZES


def test_rows_are_nearly_full_of_lengths_that_are_not_aligned():
    rows = made_up_rows(4, 2048)
    tokens, captions = rows.clips()
    assert all(0.97 * 2048 < sum(row) <= 2048 for row in rows.tokens)
    assert len(np.unique(tokens % 64)) > 20
    assert len(captions) == len(tokens) and captions.min() >= 20


def test_batches_hold_the_clips_packed_and_padded():
    rows = made_up_rows(2, 512)
    packed, padded = packed_batch(rows), list(padded_batches(rows))
    sizes = lambda batch, ids: np.concatenate([np.bincount(row)[1:] for row in getattr(batch, ids)])
    for ids, wanted in zip(("segment_ids", "text_segment_ids"), rows.clips()):
        np.testing.assert_array_equal(sizes(packed, ids), wanted)
        apart = np.concatenate([sizes(batch, ids) for batch in padded])
        np.testing.assert_array_equal(np.sort(apart), np.sort(wanted))
    assert all(batch.tokens.shape[1].bit_count() == 1 for batch in padded)
    real = packed.segment_ids > 0
    np.testing.assert_array_equal(packed.noise_slot_ids[real] // 2 + 1, packed.segment_ids[real])


def test_kernels_are_told_apart_by_their_names():
    names = ("nvjet_tst_128x256", "cudnn_generated_fort_native_sdpa", "input_reduce_fusion", "x")
    assert [kind_of(n) for n in names] == ["matmuls", "attention", "reductions", "elementwise"]


def test_an_unknown_size_is_refused():
    assert shape_of("XL", 2) == SIZES["XL"]._replace(depth=2)
    with pytest.raises(ConfigError, match="expected one of"):
        shape_of("XXL", None)


@pytest.mark.slow
def test_the_train_step_runs_and_is_timed():
    shape = shape_of("smoke", 1)
    figures = bench_train.run_jax(
        made_up_rows(1, 128), shape, ComputeConfig(), steps=1, profile=True
    )
    assert 0 < figures["dispatch_seconds"] <= figures["step_seconds"]
    assert all(seconds > 0 for seconds, _ in figures["kernels"]["kinds"].values())


@pytest.mark.parametrize("packed", [True, False])
def test_the_peer_does_an_update(packed):
    pytest.importorskip("torch")
    from tools.bench import torch_dit

    rows = made_up_rows(1, 128)
    batches = [packed_batch(rows)] if packed else list(padded_batches(rows))
    step = torch_dit.make_step(batches, shape_of("smoke", 1), 48, 768, 64, packed)
    assert bench_train.timed(step, 1)["step_seconds"] > 0
