import numpy as np
import pytest
from packs import tiny_config

from tools.bench.autoencoder import Bench, Speed, describe, made_up_batch, run
from videodit.config import ConfigError
from videodit.data.packing import unpack
from videodit.forecasting.clips import typical_clips


def test_rows_are_full_of_clips_of_the_mean_size():
    views = {
        "data__views__sides": ((0, 32, 32),),
        "data__views__seconds": ((0, 0.5, 0.5),),
    }
    cfg = tiny_config("autoencoder", **views)
    clips = typical_clips(cfg)
    batch = made_up_batch(cfg, clips)
    assert (np.asarray(batch.segment_ids) > 0).mean() == 1  # five times 4 x 4 x 4
    found = unpack(batch.tokens, batch, cfg.autoencoder.patch)
    assert {clip.shape for clip in found} == {(13, 32, 32, 3)} and len(found) == 10
    assert Bench(cfg).frames == 130


def test_what_a_program_does_is_timed_and_described():
    speeds = run(tiny_config("autoencoder"), "")
    assert [speed.program for speed in speeds] == ["encode", "decode", "train"]
    frames = Bench(tiny_config("autoencoder", data__text_tokens=40)).frames
    for speed in speeds:
        assert speed.frames_per_second == pytest.approx(frames / speed.seconds)
    assert describe(Speed("train", 0.25, 4000.0, 0.4, 14.5)) == (
        "train        250.0 ms       4,000 frames/s   MFU  40.0%    14.50 GiB"
    )


def test_training_counts_both_halves_three_times():
    bench = Bench(tiny_config("autoencoder"))
    encode, decode, train = (bench.flops(name).useful for name in ("encode", "decode", "train"))
    assert train == pytest.approx(3 * (encode + decode))


@pytest.mark.parametrize("cfg, topology, message", [
    (tiny_config("diffusion"), "", "task='diffusion': expected an autoencoder's config"),
    (tiny_config("autoencoder"), "cpu:1", "cpu:1': expected an accelerator"),
])  # fmt: skip
def test_what_cannot_be_measured_is_named(cfg, topology, message):
    with pytest.raises(ConfigError, match=message):
        run(cfg, topology)
