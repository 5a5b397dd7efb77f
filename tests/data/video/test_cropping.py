import numpy as np
import pytest

from videodit.config import ConfigError
from videodit.data.video.cropping import cropper, displayed_size
from videodit.data.video.files import decode, encode


def error(a, b):
    return np.abs(a.astype(float) - b).mean()


def test_the_centre_is_cropped_and_averaged():
    # Left and right thirds are red and blue: a square crop from the middle is green only.
    wide = np.zeros((2, 48, 144, 3), np.uint8)
    wide[:, :, :48, 0], wide[:, :, 48:96, 1], wide[:, :, 96:, 2] = 200, 200, 200
    frames = list(decode(encode(wide, 8)))
    crop = cropper(frames[0], 24, 24)
    for frame in frames:  # one graph serves frame after frame
        square = crop(frame)
        assert square.shape == (24, 24, 3) and square.dtype == np.uint8
        assert error(square[:, 2:-2], np.array([0, 200, 0])) < 4
    stripes = np.zeros((1, 48, 48, 3), np.uint8)
    stripes[:, ::2] = 240
    half = cropper(frame := next(decode(encode(stripes, 8))), frame.width // 2, 24)(frame)
    assert error(half, 120) < 4


def test_a_size_that_needs_enlarging_is_refused():
    frame = next(decode(encode(np.zeros((1, 40, 56, 3), np.uint8), 8)))
    assert displayed_size(frame) == (40, 56)
    for width, height in ((57, 40), (56, 41)):
        with pytest.raises(ConfigError, match=f"is 56x40, smaller than the {width}x{height}"):
            cropper(frame, width, height)


def test_a_picture_that_changes_is_refused():
    large, small = (next(decode(encode(np.zeros((1, n, 32, 3), np.uint8), 8))) for n in (48, 32))
    crop = cropper(large, 16, 16)
    with pytest.raises(ConfigError, match=r"changes its picture from 32x48 .* to 32x32"):
        crop(small)
