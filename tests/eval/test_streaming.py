import gc
import itertools
import weakref

import jax
import numpy as np
import pytest
from packs import tiny_config

from videodit.config import ConfigError
from videodit.eval import streaming as tool
from videodit.inference.codec import Codec
from videodit.models.autoencoder import make_autoencoder


@pytest.fixture(scope="module")
def codec():
    cfg = tiny_config("autoencoder")
    init, _ = make_autoencoder(cfg.autoencoder, cfg.compute)
    return Codec(cfg.autoencoder, cfg.compute, init(jax.random.key(0)))


def test_frames_are_made_when_they_are_asked_for_and_move():
    frames = list(itertools.islice(tool.made_up_frames(10**9, (16, 24)), 2))
    np.testing.assert_array_equal(frames[1], np.roll(frames[0], 1, axis=1))
    assert frames[0].shape == (16, 24, 3) and (frames[0] != frames[1]).any()


def test_every_frame_comes_back(codec):
    assert tool.stream(codec, 17, (16, 16)) == 17
    assert tool.stream(codec, 18, (16, 16)) == 21  # a patch has four frames


class Watched:
    """A codec that knows how many of its frames and latents, and arrays of JAX, are alive at most.

    `most` is of streamed frames, latents and decoded frames together, before each of them goes on.
    """

    def __init__(self, codec):
        gc.collect()
        self.codec, self.references, self.most = codec, [], 0
        self.before, self.most_on_device = len(jax.live_arrays()), 0

    def watch(self, arrays):
        for array in arrays:
            # What is cut out of an array keeps its owner alive, not the array.
            owner = array.base if isinstance(array.base, np.ndarray) else array
            self.references.append(weakref.ref(owner))
            del owner
            self.references = [one for one in self.references if one() is not None]
            self.most = max(self.most, len(self.references))
            self.most_on_device = max(self.most_on_device, len(jax.live_arrays()) - self.before)
            yield array

    def encode_stream(self, frames, fps):
        return self.watch(self.codec.encode_stream(self.watch(frames), fps))

    def decode_stream(self, latents, fps):
        return self.watch(self.codec.decode_stream(latents, fps))


class Keeps:
    """A codec that has all frames before it encodes the first."""

    def __init__(self, codec):
        self.codec, self.decode_stream = codec, codec.decode_stream

    def encode_stream(self, frames, fps):
        return self.codec.encode_stream(list(frames), fps)


def most_alive(codec, frames):
    watched = Watched(codec)
    tool.stream(watched, frames, (16, 16))
    return watched.most, watched.most_on_device


def test_what_is_alive_while_streaming_does_not_grow_with_the_duration(codec):
    few, many = (most_alive(codec, frames) for frames in (20, 60))
    assert few == many and few[0] < 20  # two chunks of 8 frames, their latents and what comes out
    assert most_alive(Keeps(codec), 60)[0] >= 60  # so it would be seen


def test_work_a_frame_does_not_grow_with_the_duration(codec, monkeypatch):
    calls = []

    def counted(step):
        def call(params, values, cells, past):
            calls.append((1, values.shape[1], past.cells.segment_ids.shape[1]))  # with padding
            return step(params, values, cells, past)

        return call

    steps = {method: counted(step) for method, step in codec.codec.steps.items()}
    monkeypatch.setattr(codec.codec, "steps", steps)
    work = []  # of each count: calls, tokens, and tokens of the past, a frame
    for frames in tool.COST_FRAMES:
        calls.clear()
        tool.stream(codec, frames, (16, 24))
        work.append(np.sum(calls, 0) / frames)
    assert len(work) == 6 and (np.diff(work, axis=0) <= 0).all()


def test_time_is_measured_for_every_count(codec):
    found = tool.seconds_per_frame(codec, counts=(1, 9), size=(16, 16))
    assert list(found) == [1, 9] and min(found.values()) > 0


def test_the_peak_is_that_of_the_process():
    before = tool.own_peak()["host"]
    block = np.ones(80_000_000, np.uint8)
    assert tool.own_peak()["host"] >= max(before, block.nbytes)


def test_a_child_that_fails_says_why(tmp_path):
    message = rf"^streaming 5 frames: --workdir='{tmp_path}': .* no config.json$"
    with pytest.raises(ConfigError, match=message):
        tool.peak_memory(str(tmp_path), 5, "16x16")
