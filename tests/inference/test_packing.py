"""Requests in rows of a few shapes: all of them once, in the smallest group that takes them."""

import math

import numpy as np
import pytest
from packs import PATCH, tiny_config

from videodit.config import ConfigError
from videodit.data import patches
from videodit.data.sources.source import open_tokenizer
from videodit.inference.packing import Packer, given_cells, group_shapes
from videodit.inference.request import Given, Request

CFG = tiny_config(data__row_tokens=96, data__text_tokens=64, data__max_segments=6)
SIZES = ((40, 24, 5), (33, 17, 2), (16, 16, 1), (64, 64, 1), (8, 8, 9), (48, 32, 9))
CLIP = np.random.default_rng(0).integers(1, 256, (9, 24, 16, 3), np.uint8)


def packer(group_tokens=0):
    return Packer(CFG, open_tokenizer("synthetic"), group_tokens)


def requests(count):
    sizes = (SIZES[i % len(SIZES)] for i in range(count))
    return [Request("a red square", *size, 8.0, seed) for seed, size in enumerate(sizes)]


def tokens(request):
    return math.prod(patches.grid(request.frames, request.height, request.width, PATCH))


def test_shapes_are_parts_of_the_row_and_then_several_rows():
    assert group_shapes(CFG.data, 0) == [
        (1, 12, 8, 1), (1, 24, 16, 2), (1, 48, 32, 3), (1, 96, 64, 6),
    ]  # fmt: skip
    assert [shape.rows for shape in group_shapes(CFG.data, 500)] == [1, 1, 1, 1, 2, 4]


def test_shapes_divide_on_a_mesh(mesh):
    with mesh(data=2, context=2, ring=2):
        shapes = group_shapes(CFG.data, 200)
    assert [shape.rows for shape in shapes] == [2, 2, 2, 2, 4]
    assert all(n % 4 == 0 for shape in shapes for n in shape[1:3])


@pytest.mark.parametrize("count, group_tokens", [(0, 0), (1, 0), (3, 0), (40, 0), (40, 400)])
def test_every_request_is_in_one_group_that_takes_it(count, group_tokens):
    asked, pack = requests(count), packer(group_tokens)
    groups = pack.groups(asked)
    assert sorted(i for group in groups for i in group.order()) == list(range(count))
    for group in groups:
        assert group.shape in pack.shapes and len(group.rows) <= group.shape.rows
        for row in group.rows:
            assert sum(tokens(asked[i]) for i in row) <= group.shape.row_tokens
            assert len(row) <= group.shape.max_segments
    total = sum(map(tokens, asked))
    assert len(groups) <= 1 + 1.3 * total / (96 * pack.shapes[-1].rows)


def test_few_requests_have_the_smallest_shape_that_takes_them():
    small, large = Request("a red square", 16, 16, 1), Request("a red square", 40, 24, 5)
    for asked, row_tokens in (
        ([small], 12),
        ([large], 48),
        ([large, small], 48),
        ([large] * 3, 96),
    ):
        (group,) = packer().groups(asked)
        assert group.shape.row_tokens == row_tokens
    long = Request("a red square moves to the left and then " * 2, 16, 16, 1)
    (group,) = packer().groups([long])
    assert group.shape.row_tokens > 12  # the row of 12 has no room for its prompt


def test_a_batch_holds_what_is_given_and_black():
    mask = np.zeros((9, 24, 16), bool)
    mask[:, :8] = True
    asked = [Request("a", 16, 24, 9, 8.0, 7), Request.inpaint("b", CLIP, mask, seed=9)]
    pack = packer()
    (group,) = pack.groups(asked)
    batch = pack.batch(group, asked)
    assert batch.tokens.shape[:2] == group.shape[:2]
    (row,) = group.rows
    assert batch.sample_ids[0, : len(row)].tolist() == [asked[i].seed for i in row]
    for slot, i in enumerate(row):
        here = batch.segment_ids[0] == slot + 1
        given = given_cells(asked[i].given, PATCH).ravel() if i == 1 else np.zeros(18, bool)
        np.testing.assert_array_equal(batch.given[0, here], given)
        assert batch.tokens[0, here].any() == (i == 1)


def cells(mask, frames=9):
    return given_cells(Given(np.zeros((frames, 24, 16, 3), np.uint8), mask), PATCH)


@pytest.mark.parametrize("frames, latent_frames", [
    ([0], [1, 0, 0]), (range(5), [1, 1, 0]), (range(7), [1, 1, 0]), (range(1, 5), [0, 1, 0]),
    (range(5, 9), [0, 0, 1]), (range(3, 9), [0, 0, 1]), ([0, 5, 6, 7, 8], [1, 0, 1]),
])  # fmt: skip
def test_cells_are_given_as_a_whole_in_time(frames, latent_frames):
    found = cells(np.isin(np.arange(9), list(frames)))
    assert found.shape == (3, 3, 2)
    assert [bool(frame.all()) for frame in found] == [bool(x) for x in latent_frames]
    assert found.sum() == 6 * sum(latent_frames)


def test_a_last_latent_frame_with_fewer_frames_is_given_if_they_are():
    assert cells(np.arange(7) >= 5, frames=7).any((1, 2)).tolist() == [False, False, True]


def test_cells_are_given_as_a_whole_in_space():
    mask = np.zeros((9, 24, 16), bool)
    mask[:, 4:20, :] = True  # all of the second row of cells, half of the others
    assert cells(mask).any((0, 2)).tolist() == [False, True, False]


@pytest.mark.parametrize("frames, rows, named", [
    ([3], 24, "3 to 3"), ([0, 6, 7], 24, "6 to 7"), ([0, 8], 24, "8 to 8"),
    (range(1, 9), 4, "1 to 8"),
])  # fmt: skip
def test_given_frames_that_fill_no_cell_are_named(frames, rows, named):
    mask = np.zeros((9, 24, 16), bool)
    mask[list(frames), :rows] = True
    with pytest.raises(ConfigError, match=f"given.mask='frames {named}': .* 4 frames"):
        cells(mask)


@pytest.mark.parametrize("request_, message", [
    (Request("word " * 400, 16, 16), "text tokens; this model takes at most data.text_tokens=64"),
    (Request("a", 7, 64), "at least one patch, 8x8"),
    (Request("a", 512, 512), "needs 20480 tokens; this model's rows have data.row_tokens=96"),
    (Request.connect("a", CLIP[:1], CLIP[:1], 9), "frames 8 to 8"),
])  # fmt: skip
def test_requests_that_the_model_cannot_make_are_named(request_, message):
    with pytest.raises(ConfigError, match=message):
        packer().groups([Request("a", 16, 16), request_])
