import itertools

import jax
import numpy as np
import pytest
from packs import tiny_config

from tools import autoencoder_streaming as tool
from videodit.codec import Codec
from videodit.config import ConfigError
from videodit.models.autoencoder import make_autoencoder


@pytest.fixture(scope="module")
def codec():
    cfg = tiny_config("autoencoder")
    init, _ = make_autoencoder(cfg.autoencoder, cfg.compute)
    return Codec(cfg.autoencoder, cfg.compute, init(jax.random.key(0)))


def test_a_size_is_width_times_height():
    assert tool.parse_size("96x64") == (64, 96)
    with pytest.raises(ConfigError, match="size: '64': expected WIDTHxHEIGHT"):
        tool.parse_size("64")


def test_frames_are_made_when_they_are_asked_for_and_move():
    frames = list(itertools.islice(tool.made_up_frames(10**9, (16, 24)), 2))
    np.testing.assert_array_equal(frames[1], np.roll(frames[0], 1, axis=1))
    assert frames[0].shape == (16, 24, 3) and (frames[0] != frames[1]).any()


def test_every_frame_comes_back(codec):
    assert tool.stream(codec, 17, (16, 16)) == 17
    assert tool.stream(codec, 18, (16, 16)) == 21  # a patch has four frames


def test_time_is_measured_for_every_count(codec):
    found = tool.seconds_per_frame(codec, counts=(1, 9), size=(16, 16))
    assert list(found) == [1, 9] and min(found.values()) > 0


def test_the_peak_is_that_of_the_process():
    before = tool.own_peak()["host"]
    block = np.ones(80_000_000, np.uint8)
    assert tool.own_peak()["host"] >= max(before, block.nbytes)


def test_a_child_that_fails_says_why(tmp_path):
    with pytest.raises(ConfigError, match=r"streaming 5 frames: .* no config.json"):
        tool.peak_memory(str(tmp_path), 5, "16x16")
