import dataclasses

import numpy as np
import pytest

from videodit.config import ModeWeights
from videodit.data.planning import given


def mask_of(name, grid, seed=0):
    mode_id, mask = given.choose_mode(
        list(given.MODES).index(name), grid, np.random.default_rng(seed)
    )
    assert mask.shape == tuple(grid) and mask.dtype == bool
    return list(given.MODES)[mode_id], mask


def test_tasks_are_the_weights_of_the_config():
    assert list(given.MODES) == [field.name for field in dataclasses.fields(ModeWeights)]


@pytest.mark.parametrize(
    "name, frames",
    [
        ("generate", [0, 0, 0, 0, 0]),
        ("animate", [1, 0, 0, 0, 0]),
        ("extend", [1, 1, 0, 0, 0]),
        ("prepend", [0, 0, 0, 1, 1]),
        ("connect", [1, 0, 0, 0, 1]),
    ],
)
def test_tasks_of_time_give_whole_latent_frames(name, frames):
    drawn, mask = mask_of(name, (5, 2, 3))
    assert drawn == name
    assert mask.all((1, 2)).tolist() == mask.any((1, 2)).tolist() == [bool(f) for f in frames]


@pytest.mark.parametrize("chunk", [1, 2, 3, 4, 8])
def test_extend_gives_whole_chunks_nearest_to_half(chunk):
    extend = list(given.MODES).index("extend")
    for frames in range(2, 40):
        _, mask = given.choose_mode(extend, (frames, 1, 1), np.random.default_rng(0), chunk)
        borders = np.arange(1, frames, chunk)  # behind the first frame, and behind every chunk
        count = mask.sum()
        assert count in borders and mask[:count].all()
        assert abs(count - frames // 2) == np.abs(borders - frames // 2).min()


@pytest.mark.parametrize("seed", range(20))
def test_inpaint_leaves_a_box_of_at_least_half_of_each_axis(seed):
    grid = (3, 4, 5)
    name, mask = mask_of("inpaint", grid, seed)
    if name == "generate":  # the box was everything
        assert not mask.any()
        return
    inside = np.argwhere(~mask)
    extent = inside.max(0) - inside.min(0) + 1
    assert len(inside) == extent.prod()  # a full box: nothing inside is given
    assert (2 * extent >= grid).all()


def test_inpaint_depends_on_the_generator_alone():
    boxes = [mask_of("inpaint", (5, 8, 8), seed)[1] for seed in (0, 0, 1)]
    np.testing.assert_array_equal(boxes[0], boxes[1])
    assert (boxes[0] != boxes[2]).any()


@pytest.mark.parametrize("name", ["animate", "extend", "prepend", "connect"])
def test_tasks_of_time_on_an_image_generate(name):
    drawn, mask = mask_of(name, (1, 4, 4))
    assert drawn == "generate" and not mask.any()


@pytest.mark.parametrize("name", list(given.MODES))
@pytest.mark.parametrize("grid", [(1, 1, 1), (2, 1, 1), (1, 3, 2), (4, 2, 2)])
def test_something_is_left_to_generate(name, grid):
    for seed in range(5):
        assert not mask_of(name, grid, seed)[1].all()
