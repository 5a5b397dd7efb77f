import itertools

import numpy as np
import pytest

from videodit.data.video.files import resize
from videodit.data.video.measure import measure, stretches


def measured(frames):
    return measure(resize(frames, view) for view in stretches(*frames.shape[:3]))


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), np.uint8)


def test_what_stands_still_is_static():
    assert measured(np.repeat(noise(1, 64, 48), 7, axis=0)) == (0, 1)
    assert measured(noise(1, 64, 48)) == (0, 0)  # an image has nothing to repeat


def test_motion_is_the_mean_change_of_a_pixel():
    """Two of eight blocks change by 10 levels every frame, in one of three colours."""
    frames = np.full((6, 16, 32, 3), 100, np.uint8)
    frames[1::2, :8, :16, 1] += 10
    motion, static = measured(frames)
    assert motion == pytest.approx(10 / 255 * 2 / 8 / 3)
    assert static == pytest.approx(6 / 8)


def test_a_change_of_two_levels_is_none():
    for levels, share in ((2, 1), (3, 0)):
        frames = np.full((2, 16, 16, 3), 100, np.uint8)
        frames[1] += levels
        assert measured(frames).static == share


def test_a_large_picture_is_measured_small():
    """Half of the picture is new in every frame: so are half of the blocks, in any size."""
    rng = np.random.default_rng(0)
    frames = np.zeros((5, 360, 640, 3), np.uint8)
    for frame in frames:
        frame[:, 320:] = np.repeat(np.repeat(rng.integers(0, 256, (9, 8, 3)), 40, 0), 40, 1)
    assert measured(frames).static == pytest.approx(0.5, abs=0.05)
    assert max(view.height * view.width for view in stretches(5, 360, 640)) <= 128**2


def test_stretches_lie_within_the_clip_and_are_few():
    for frames in (1, 2, 20, 21, 50, 5000):
        views = stretches(frames, 72, 128)
        seen = [range(view.start, view.start + view.frames) for view in views]
        assert all(view.stride == 1 for view in views) and sum(map(len, seen)) <= 20
        assert seen[0][0] == 0 and seen[-1][-1] == frames - 1
        assert all(a.stop <= b.start for a, b in itertools.pairwise(seen))


@pytest.mark.parametrize("height, width", [(5, 7), (8, 1000), (9, 15), (1, 1)])
def test_any_size_can_be_measured(height, width):
    motion, static = measured(noise(3, height, width))
    assert 0.1 < motion < 0.6 and static == 0
