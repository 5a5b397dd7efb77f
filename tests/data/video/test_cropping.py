from fractions import Fraction

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from videodit.config import ConfigError
from videodit.data.video.cropping import cropper, displayed_size
from videodit.data.video.files import (
    View,
    decode,
    encode,
    probe,
    read_clip,
    read_frames,
    whole,
)


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


def disc(width, height, aspect):
    """A white disc in the middle, of the height of the picture, in pixels `aspect` wide."""
    y, x = np.mgrid[:height, :width] + 0.5
    x, y = (x - width / 2) * float(aspect), y - height / 2
    inside = np.hypot(x, y) < 0.45 * min(height, width * float(aspect))
    return np.repeat(np.uint8(255 * inside)[..., None], 3, -1)


def write_with_aspect(path, picture, aspect, codec, **options):
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=24, options=options)
        stream.height, stream.width, stream.pix_fmt = *picture.shape[:2], "yuv420p"
        stream.codec_context.sample_aspect_ratio = aspect
        for _ in range(3):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            container.mux(stream.encode(frame.reformat(format="yuv420p")))
        container.mux(stream.encode())


@pytest.mark.parametrize("codec, name", [("libx264", "a.mp4"), ("libx264", "a.mkv")])
@pytest.mark.parametrize("aspect", [(10, 7), (16, 15), (8, 9), (1, 2), (2, 1)])
def test_a_disc_stays_round(tmp_path, codec, name, aspect):
    aspect = Fraction(*aspect)
    path = tmp_path / name
    write_with_aspect(path, disc(120, 120, aspect), aspect, codec)
    info = probe(path)
    assert info.width / info.height == pytest.approx(float(aspect), rel=0.01)
    assert max(info.width, info.height) == 120  # the longer side keeps its pixels
    white = read_clip(path, whole(3, info.height, info.width), 24)[1, ..., 1] > 127
    tall, wide = white.any(1).sum(), white.any(0).sum()
    assert abs(tall - wide) <= 1 and tall > 40
    square = read_clip(path, View(0, 1, 1, 48, 48), 24)[0, ..., 1] > 127
    tall, wide = square.any(1).sum(), square.any(0).sum()
    assert abs(tall - wide) <= 1 and tall == pytest.approx(0.9 * 48, abs=1.5)
    assert read_frames(path).shape == (3, info.height, info.width, 3)


@settings(max_examples=20)
@given(
    width=st.integers(30, 90),
    height=st.integers(30, 90),
    aspect=st.fractions(Fraction(1, 2), 2, max_denominator=40),
    shape=st.sampled_from([(16, 16), (24, 16), (16, 24)]),
)
def test_a_disc_stays_round_in_any_size_and_crop(tmp_path_factory, width, height, aspect, shape):
    width, height = 2 * width, 2 * height
    path = tmp_path_factory.mktemp("film") / "a.mp4"
    write_with_aspect(path, disc(width, height, aspect), aspect, "libx264")
    info = probe(path)
    assert info.width / info.height == pytest.approx(width * aspect / height, rel=0.03)
    assert info.width <= width and info.height <= height  # nothing is enlarged
    view = View(0, 1, 1, *shape)
    for seen in (whole(1, info.height, info.width), view):
        white = read_clip(path, seen, 24)[0, ..., 1] / 255
        # Grey borders count as parts of a pixel. A cropped disc still spans its shorter side.
        tall, wide = (white[:, white.shape[1] // 2].sum(), white[white.shape[0] // 2].sum())
        if min(tall, wide) < min(white.shape) - 1:
            assert tall == pytest.approx(wide, rel=0.05, abs=1.2)


def test_an_aspect_that_nobody_means_is_ignored(tmp_path):
    write_with_aspect(tmp_path / "a.mp4", disc(64, 48, 1), Fraction(1, 200), "libx264")
    assert probe(tmp_path / "a.mp4")[:2] == (64, 48)
    Image.fromarray(disc(64, 48, 1)).save(tmp_path / "a.jpg", dpi=(72, 144))
    assert probe(tmp_path / "a.jpg")[:2] == (64, 48)  # resolutions of photos are for printers
