import numpy as np
import pytest
from PIL import Image, ImageColor

from videodit.data import packing, pictures
from videodit.data.pictures import PackedClip

PATCH = (4, 8, 8)


def rgb(color):
    return list(ImageColor.getrgb(color))


def packed_row():
    """100 tokens: clips of 40 (an image), 20 (replaced) and 8 tokens, 32 of padding."""
    sizes = ((1, 64, 40), (1, 40, 32), (5, 16, 16))
    given = [None, None, np.repeat([True, False], 4)]
    segments = [
        packing.segment(
            np.zeros((*size, 3), np.uint8),
            patch=PATCH,
            fps=8,
            text_ids=[2, *[5] * words, 3],
            given=mask,
        )
        for size, words, mask in zip(sizes, (3, 8, 0), given)
    ]
    batch = packing.empty_batch(1, 768, row_tokens=100, text_tokens=50, max_segments=5)
    row = packing.row_of(batch, 0)
    packing.pack_row(segments, row, patch=PATCH, replaced=[False, True, False])
    return row


def clip(kept, given, **changes):
    t, h, w = kept.shape
    frames = np.full((t, 8 * h, 8 * w, 3), 250, np.uint8)
    made = dict(slot=2, seconds=0.5, caption="a <b> & c", title="t", details=(), replaced=False)
    return PackedClip(frames=frames, kept=kept, given=given, **made | changes)


def test_segments_are_as_wide_as_their_tokens():
    pixels = np.asarray(pictures.strip(packed_row(), 1000))
    colors = [rgb(pictures.color(m)) for m in (1, 2, 3)]
    for y, widths in ((pictures.BORDER + 1, (400, 200, 80)), (pictures.ROW - 1, (100, 200, 40))):
        line = pixels[y]
        for color, expected in zip(colors, widths):
            assert (line == color).all(-1).sum() == pytest.approx(expected, abs=8)  # the border
    underlined = (pixels[pictures.STRIP - 3] == rgb(pictures.GIVEN)).all(-1)
    assert np.flatnonzero(underlined)[[0, -1]].tolist() == [600, 639]
    red = (pixels[0] == rgb(pictures.BROKEN)).all(-1)
    assert np.flatnonzero(red)[[0, -1]].tolist() == [400, 599]
    padding = [ImageColor.getrgb(color) for color in pictures.HATCHED]
    assert set(map(tuple, pixels[5, 680:].tolist())) == set(padding)


def test_dropped_cells_are_grey_and_given_ones_framed():
    kept, given = np.ones((2, 4, 6), bool)
    kept[1, 2] = False
    given[:, 3:] = False
    image = Image.new("RGB", (6 * 20, 4 * 10), (250, 250, 250))
    pictures.mark_cells(image, kept, given, (10, 20))
    pixels = np.asarray(image)
    assert pixels[15, 50].tolist() == rgb(pictures.DROPPED[0])
    framed = (pixels == rgb(pictures.GIVEN)).all(-1)
    border = np.ones((40, 60), bool)
    border[pictures.BORDER : -pictures.BORDER, pictures.BORDER : -pictures.BORDER] = False
    assert (framed[:, :60] == border).all() and not framed[:, 60:].any()
    assert pixels[20, 100].tolist() == [250, 250, 250]


def test_a_dropped_cell_belongs_to_the_region_of_its_nearest_kept_cell():
    kept, given = np.ones((2, 4, 6), bool)
    kept[0, :3] = False  # along the top: above given cells
    given[:, 3:], given[0, :3] = False, False
    image = Image.new("RGB", (6 * 20, 4 * 10), (250, 250, 250))
    pictures.mark_cells(image, kept, given, (10, 20))
    framed = (np.asarray(image) == rgb(pictures.GIVEN)).all(-1)
    assert framed[: pictures.BORDER, :60].all() and not framed[10 : 10 + pictures.BORDER, 20].any()


def test_a_sheet_is_no_wider_than_there_is_room():
    marks = np.ones((30, 4, 6), bool)
    drawn = pictures.sheet(clip(marks, ~marks), PATCH, 500)
    assert 300 < drawn.width <= 500


def test_a_sheet_shows_the_first_and_the_last_of_many_frames():
    marks = np.ones((30, 4, 6), bool)
    shown = clip(marks, ~marks)
    shown.frames[:] = np.arange(30)[:, None, None, None]
    image = np.asarray(pictures.sheet(shown, PATCH))
    height, width = (n * c for n, c in zip((4, 6), pictures.cell_pixels((4, 6), PATCH)))
    gap = (image.shape[1] - pictures.FRAMES * width) // (pictures.FRAMES - 1)
    middles = image[height // 2, width // 2 :: width + gap, 0].tolist()
    assert len(middles) == pictures.FRAMES and middles == sorted(middles)
    assert (middles[0], middles[-1]) == (0, 29)
    assert pictures.sheet(clip(marks[:1], ~marks[:1]), PATCH).size == (width, height)


@pytest.mark.parametrize("grid", [(2, 2), (18, 32), (32, 18), (128, 16), (3, 300)])
def test_frames_keep_their_shape_in_a_bounded_place(grid):
    cell = pictures.cell_pixels(grid, PATCH)
    height, width = grid[0] * cell[0], grid[1] * cell[1]
    assert cell[0] == cell[1] and height <= 8 * 3 * grid[0]
    assert (height <= 1.5 * pictures.FRAME[1] and width <= 1.5 * pictures.FRAME[0]) or cell[0] == 1


def test_the_clips_of_a_row_do_not_overlap():
    row, marks = packed_row(), np.ones((8, 9, 16), bool)
    clips = [clip(marks, ~marks, slot=m, details=("x " * 300,)) for m in (1, 2, 3)]
    sheets = [pictures.sheet(each, PATCH) for each in clips]
    image = np.asarray(pictures.row_picture("Row 0", row, clips, sheets))
    sheet = (image == 250).all(-1).sum(1) > 1000
    bands = np.flatnonzero(np.diff(sheet.astype(int)) == 1)
    assert len(bands) == 3  # each is as wide as the picture
    assert image.shape[1] == pictures.WIDTH and image.shape[0] > bands[-1] + sheets[0].height
