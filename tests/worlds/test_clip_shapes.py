import numpy as np
import pytest
from scipy import stats

from videodit.config import ConfigError
from videodit.worlds.clip_shapes import Shapes, clip_seed

DRAWN = [Shapes(tokens=0).draw(clip_seed(0, "train", i)) for i in range(3000)]


def test_shapes_fill_their_bounds():
    width, height, frames, fps = np.array(DRAWN).T
    for sides in (width, height):
        assert (sides.min(), sides.max()) == (32, 128) and not (sides % 8).any()
    assert np.maximum(width / height, height / width).max() == 3
    assert (frames.min(), frames.max()) == (1, 65) and set(frames % 4) == {1}
    assert set(fps) == set(range(4, 25))
    assert abs(np.log(width / height).mean()) < 0.05  # as many upright as wide
    assert stats.chisquare(np.unique(frames, return_counts=True)[1]).pvalue > 1e-4


def test_no_clip_has_more_patches_than_allowed():
    """A patch has 8 x 8 pixels of the first frame, or of 4 further frames."""
    drawn = [Shapes(tokens=504).draw(seed) for seed in range(3000)]
    patches = [w // 8 * (h // 8) * (1 + (frames - 1) // 4) for w, h, frames, _ in drawn]
    assert 450 < max(patches) <= 504
    width, height, frames, _ = np.array(drawn).T
    assert frames.max() == 65 and (width * height).max() > 100**2


def test_a_shape_is_a_function_of_its_seed():
    assert [Shapes(tokens=0).draw(clip_seed(0, "train", i)) for i in range(20)] == DRAWN[:20]
    one = Shapes(sides=(64, 64), frames=(17, 17), fps=(8, 8))
    assert {one.draw(seed) for seed in range(20)} == {(64, 64, 17, 8.0)}


def test_seeds_differ_by_run_split_and_number():
    seeds = {
        clip_seed(run, split, number)
        for run in range(3)
        for split in ("train", "val")
        for number in range(500)
    }
    assert len(seeds) == 3000 and max(seeds) < 2**63 and min(seeds) >= 0


@pytest.mark.parametrize(
    "shapes, message",
    [
        (Shapes(sides=(128, 128), frames=(9, 65)), "no clip is like this"),  # too many patches
        (Shapes(sides=(64, 32)), r"sides=\(64, 32\)"),
        (Shapes(fps=(0, 8)), r"fps=\(0, 8\)"),
        (Shapes(aspect=0.5), "aspect=0.5: expected at least 1"),
        (Shapes(frames=(2, 4)), "no clip is like this"),
    ],
)
def test_impossible_bounds_are_refused(shapes, message):
    with pytest.raises(ConfigError, match=message):
        shapes.draw(0)
