import numpy as np
import pytest

from videodit.curation.describe import describe


def plain(color, frames=1):
    return np.full((frames, 8, 8, 3), color, np.uint8)


@pytest.mark.parametrize(
    "color, words",
    [
        ((0, 0, 90), "dark, mostly blue"),
        ((250, 20, 30), "dim|softly lit, mostly red"),
        ((200, 110, 10), "mostly orange"),
        ((240, 230, 60), "bright, mostly yellow"),
        ((20, 140, 40), "mostly green"),
        ((120, 40, 160), "mostly purple"),
        ((250, 30, 130), "mostly pink"),
        ((20, 200, 220), "mostly cyan"),
        ((128, 130, 126), "softly lit, mostly grey"),
        ((250, 250, 250), "bright, mostly grey"),
    ],
)
def test_brightness_and_color_of_an_image(color, words):
    text = describe(plain(color), 24)
    assert any(word in text for word in words.split("|")) and "motion" not in text


def test_most_pixels_decide_the_color():
    half = plain((20, 140, 40))
    half[:, :3] = (0, 0, 250)
    assert "mostly green" in describe(half, 24)


def test_motion_is_measured():
    noise = np.random.default_rng(0).integers(0, 255, (9, 8, 8, 3), np.uint8)
    assert describe(noise, 12).endswith("with strong motion.")
    assert describe(plain((9, 9, 9), 9), 12).endswith("with almost no motion.")
    ramp = plain(0, 9) + np.arange(9, dtype=np.uint8)[:, None, None, None] * 3
    assert describe(ramp, 12).endswith("with slow motion.")  # 3 levels a frame
    assert describe(ramp, 24).endswith("with steady motion.")  # the same in half the time
