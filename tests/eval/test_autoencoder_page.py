import numpy as np
import pytest

from videodit.data.video.files import read_frames
from videodit.eval import autoencoder_page as tool
from videodit.eval.scores import HeldOutClip, Scored


def coded(name, frames, height, width, error=10):
    """A grey clip and a brighter one."""
    original = np.full((frames, height, width, 3), 100, np.uint8)
    return HeldOutClip(name, original, 8.0), original + np.uint8(error)


def test_shown_are_clips_of_every_shape_before_a_second_one_of_any():
    sizes = {name: (1, 8, 8) for name in "abcdef"} | {"g": (5, 8, 8), "h": (1, 16, 16)}
    clips = [Scored(name, size, 1, {}) for name, size in sizes.items()]
    assert [one.name for one in tool.choose(clips)] == ["g", "h", "a", "b", "c", "d"]


@pytest.mark.parametrize(
    "size, factor", [((56, 96), 3), ((96, 56), 3), ((288, 20), 1), ((300, 300), 1)]
)
def test_small_frames_are_enlarged_by_a_whole_number(size, factor):
    frames = np.random.default_rng(0).integers(0, 256, (2, *size, 3)).astype(np.uint8)
    large = tool.enlarge(frames)
    assert large.shape[1:3] == (factor * size[0], factor * size[1])
    np.testing.assert_array_equal(large[:, ::factor, ::factor], frames)


def test_a_picture_shows_the_error_brightened():
    clip, output = coded("a", 5, 144, 288)
    output[2, :, :, 0] = 250
    picture = np.asarray(tool.picture(clip.frames, output))
    step_x, step_y = 288 + tool.GAP, 144 + tool.GAP
    assert picture.shape == (tool.TITLE + 3 * step_y - tool.GAP, 3 * step_x - tool.GAP, 3)
    for row, expected in enumerate(([40, 40, 40], [255, 40, 40], [40, 40, 40])):
        y = tool.TITLE + row * step_y + 70
        assert picture[y, 100].tolist() == [100, 100, 100]
        assert picture[y, 2 * step_x + 100].tolist() == expected
    assert picture[tool.TITLE + step_y + 70, step_x + 100].tolist() == [250, 110, 110]


def test_pictures_and_videos_are_written(tmp_path):
    clips = [coded("moves", 5, 32, 48, error=60), coded("image", 1, 16, 16)]
    items = tool.write_pictures(tmp_path, clips)
    assert [sorted(item) for item in items] == [
        ["caption", "picture", "psnr", "video"],
        ["caption", "picture", "psnr"],
    ]
    assert items[0]["psnr"] == pytest.approx(20 * np.log10(255 / 60))
    assert items[0]["caption"] == "moves: 48×32, 5 frames"
    video = read_frames(tmp_path / items[0]["video"])
    assert video.shape == (5, 192, 2 * 288 + tool.GAP, 3)
    np.testing.assert_allclose(video[:, 20:170, 20:260].mean(), 100, atol=3)
    np.testing.assert_allclose(video[:, 20:170, 320:560].mean(), 160, atol=3)


def test_what_is_not_there_is_a_dash_and_nothing_is_minus_zero():
    assert [tool._number(x, 2) for x in (None, float("nan"), -0.001, 1.005e3)] == [
        "–",
        "–",
        "0.00",
        "1005.00",
    ]
