import numpy as np
import pytest

from videodit.data import patches

PATCH = (4, 8, 8)


def noise(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize(
    "size, cells",
    [
        ((1, 8, 8), (1, 1, 1)),
        ((5, 16, 24), (2, 2, 3)),
        ((17, 56, 96), (5, 7, 12)),
        ((6, 9, 1), (3, 2, 1)),  # rounded up
    ],
)
def test_grid(size, cells):
    assert patches.grid(*size, PATCH) == cells


def test_grid_of_many_clips_at_once():
    sizes = np.array([[1, 8, 8], [6, 9, 1]]).T
    assert np.stack(patches.grid(*sizes, PATCH), 1).tolist() == [[1, 1, 1], [3, 2, 1]]


@pytest.mark.parametrize("size", [(1, 8, 8), (9, 16, 24), (7, 13, 21), (2, 3, 5)])
def test_round_trip_is_exact(size):
    frames = noise(*size, 3)
    tokens = patches.patchify(frames, PATCH)
    cells = patches.grid(*size, PATCH)
    assert tokens.shape == (np.prod(cells), 4 * 8 * 8 * 3) and tokens.dtype == np.uint8
    np.testing.assert_array_equal(patches.unpatchify(tokens, cells, PATCH, size), frames)


def test_tokens_are_ordered_by_frame_row_column():
    frames = noise(5, 16, 24, 3)
    tokens = patches.patchify(frames, PATCH).reshape(2, 2, 3, 4, 8, 8, 3)
    np.testing.assert_array_equal(tokens[1, 1, 2], frames[1:5, 8:16, 16:24])
    for copy in tokens[0, 0, 1]:  # the first frame fills its patch in time
        np.testing.assert_array_equal(copy, frames[0, :8, 8:16])


@pytest.mark.parametrize("size", [(1, 8, 8), (9, 16, 24), (7, 13, 21), (2, 3, 5), (6, 16, 17)])
@pytest.mark.parametrize("patch", [PATCH, (2, 5, 3), (1, 1, 1)])
def test_every_value_of_a_token_is_the_nearest_pixel_of_its_cell(size, patch):
    frames = noise(*size, 3)
    (t, h, w), (pt, ph, pw) = patches.grid(*size, patch), patch
    expected = np.empty((t, h, w, pt, ph, pw, 3), np.uint8)
    for j, y, x, dj, dy, dx in np.ndindex(t, h, w, pt, ph, pw):
        frame = min(max(pt * j - (pt - 1) + dj, 0), size[0] - 1)
        row, column = min(ph * y + dy, size[1] - 1), min(pw * x + dx, size[2] - 1)
        expected[j, y, x, dj, dy, dx] = frames[frame, row, column]
    out = np.zeros((t * h * w + 2, pt * ph * pw * 3), np.uint8)
    patches.patchify(frames, patch, out=out[1:-1])  # into a part of a row
    np.testing.assert_array_equal(out[1:-1], expected.reshape(t * h * w, -1))
    assert not out[[0, -1]].any()


def test_cells_are_found_by_their_positions():
    grid, fps = (40, 9, 16), 30000 / 1001
    positions = patches.positions(grid, fps, PATCH)
    cells = patches.cells_at(positions[::-1], grid, np.float32(fps), PATCH)
    np.testing.assert_array_equal(cells, np.arange(40 * 9 * 16)[::-1])


def test_short_edges_repeat_the_last_row_column_and_frame():
    frames = noise(3, 6, 7, 3)
    tokens = patches.patchify(frames, PATCH).reshape(2, 4, 8, 8, 3)
    np.testing.assert_array_equal(tokens[1, 1:, :6, :7], np.stack([frames[2]] * 3))
    np.testing.assert_array_equal(tokens[1, 0, 7, :7], frames[1, 5])
    np.testing.assert_array_equal(tokens[1, 0, :6, 7], frames[1, :, 6])


def test_latents_are_patches_of_one():
    latents = noise(3, 2, 4, 16).astype(np.float32)
    tokens = patches.patchify(latents, (1, 1, 1))
    assert tokens.shape == (24, 16)
    np.testing.assert_array_equal(
        patches.unpatchify(tokens, (3, 2, 4), (1, 1, 1), (3, 2, 4)), latents
    )


def test_full_size_has_the_grid_and_nothing_larger_does():
    size = patches.full_size((5, 7, 12), PATCH)
    assert size == (17, 56, 96)
    assert patches.grid(*size, PATCH) == (5, 7, 12)
    assert patches.grid(*(n + 1 for n in size), PATCH) == (6, 8, 13)


def test_positions_are_seconds_and_patches():
    positions = patches.positions((3, 2, 2), 8.0, PATCH)
    assert positions.dtype == np.float32 and positions.shape == (12, 3)
    # Frame 0 is shown at 0 s; a cell of four frames ends with frame 4 at 0.5 s, then 8 at 1 s.
    assert positions[:, 0].tolist() == [0.0] * 4 + [0.5] * 4 + [1.0] * 4
    assert positions[4:8, 1:].tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
