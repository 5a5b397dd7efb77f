"""Pictures of packed rows: a row as a strip of segments, a clip as a contact sheet."""

import itertools
import math
import textwrap
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import binary_erosion, distance_transform_edt

from videodit.data.packing import HostBatch
from videodit.data.patches import Size

# Colours of segments; neighbours differ in hue and lightness.
COLORS = ("#2563eb", "#d97706", "#059669", "#db2777", "#7c3aed", "#0891b2", "#92400e", "#4d7c0f")
INK, MUTED, PAPER = "#0f172a", "#64748b", "#ffffff"
HATCHED = "#eef2f7", "#cbd5e1"  # padding: ground and lines
DROPPED = "#9ca3af", "#b6bcc6"  # dropped cells, and the lines between them
GIVEN = "#facc15"  # frames around given cells, lines under given tokens
BROKEN = "#dc2626"

WIDTH, MARGIN, GAP = 1600, 32, 24  # pixels
STRIP, BAND, TEXT_STRIP = (
    40,
    7,
    14,
)  # heights: vision tokens, the line under given ones, text tokens
ROW = STRIP + 4 + TEXT_STRIP  # height of a strip
KEY = 28  # height of the line that explains the colours
FRAMES = 8  # latent frames of a clip that are drawn, at most
FRAME = (192, 112)  # width and height that a drawn frame fills
BETWEEN = 6  # pixels between frames
ENLARGED = 3  # times that a frame is enlarged, at most
BORDER = 3  # width of the frame around given cells
BLOCK = 296  # least width of a clip with its caption
CHARACTERS = 0.142  # characters of a caption in a pixel of width


class PackedClip(NamedTuple):
    """One segment of a row, unpacked from its tokens."""

    slot: int  # its segment id
    frames: np.ndarray  # t H W 3 uint8: the last pixel frame of each latent frame
    kept: np.ndarray  # t h w bool: cells whose token was not dropped
    given: np.ndarray  # t h w bool: cells that are given to the model
    seconds: float  # between latent frames
    caption: str
    title: str  # size, duration and mode
    details: tuple[str, ...]  # tokens, origin and name
    replaced: bool  # it is the spare of a broken clip


class Fact(NamedTuple):
    """A figure of a batch."""

    name: str
    value: str
    note: str


def strip(row: HostBatch, width: int) -> Image.Image:
    """A row (no leading B), to scale: its clips, given tokens underlined, above its captions.

    Segment m has the colour `color(m)`. Padding is hatched.
    """
    image = _hatched(width, ROW)
    pen, font = ImageDraw.Draw(image), _font(18)
    pen.rectangle((0, STRIP, width, STRIP + 3), fill=PAPER)
    for m, left, right in _runs(row.segment_ids, width):
        pen.rectangle((left, 0, right, STRIP - 1), fill=color(m))
        if row.replaced[m - 1]:
            pen.rectangle((left, 0, right, STRIP - 1), outline=BROKEN, width=BORDER)
        if pen.textlength(str(m), font) + 6 < right - left:
            middle = ((left + right) / 2, (STRIP - BAND) / 2)
            pen.text(middle, str(m), PAPER, font, anchor="mm")
    for _, left, right in _runs(row.given, width):
        pen.rectangle((left, STRIP - BAND, right, STRIP - 1), fill=GIVEN)
    for m, left, right in _runs(row.text_segment_ids, width):
        pen.rectangle((left, STRIP + 4, right, ROW), fill=color(m))
    return image


def sheet(clip: PackedClip, patch: Size, width: int = WIDTH - 2 * MARGIN) -> Image.Image:
    """Latent frames of a clip side by side, each above its time.

    At most FRAMES frames, evenly chosen, are drawn, and no more than `width` pixels hold.
    """
    t, h, w = clip.kept.shape
    cell = cell_pixels((h, w), patch)
    frame_width, height = w * cell[1], h * cell[0]
    step = frame_width + BETWEEN
    most = max(1, min(FRAMES, (width + BETWEEN) // step))
    chosen = np.unique(np.linspace(0, t - 1, most).round().astype(int)).tolist()
    image = Image.new("RGB", (len(chosen) * step - BETWEEN, height + 20 * (t > 1)), PAPER)
    pen = ImageDraw.Draw(image)
    for n, j in enumerate(chosen):
        frame = Image.fromarray(clip.frames[j])
        frame = frame.resize((frame_width, height), Image.Resampling.LANCZOS)
        mark_cells(frame, clip.kept[j], clip.given[j], cell)
        image.paste(frame, (n * step, 0))
        if t > 1:
            place = (n * step + frame_width / 2, height + 4)
            pen.text(place, f"{j * clip.seconds:.2f} s", MUTED, _font(13), anchor="ma")
    return image


def cell_pixels(grid: tuple[int, int], patch: Size) -> tuple[int, int]:
    """Height and width in pixels at which a cell is drawn, for a frame of h x w cells."""
    (h, w), (_, ph, pw) = grid, patch
    scale = min(FRAME[1] / (h * ph), FRAME[0] / (w * pw), ENLARGED)
    return max(1, round(ph * scale)), max(1, round(pw * scale))


def mark_cells(
    frame: Image.Image, kept: np.ndarray, given: np.ndarray, cell: tuple[int, int]
) -> None:
    """Greys the cells that are not kept and frames the given region; masks are h w bool.

    A dropped cell lies in the given region if the nearest kept cell is given.
    """
    pen, (height, width) = ImageDraw.Draw(frame), cell
    for y, x in np.argwhere(~kept).tolist():
        box = (x * width, y * height, (x + 1) * width - 1, (y + 1) * height - 1)
        pen.rectangle(box, fill=DROPPED[0], outline=DROPPED[1] if min(cell) > 4 else None)
    if not given.any():
        return
    nearest = distance_transform_edt(~kept, return_distances=False, return_indices=True)
    region = given[tuple(nearest)].repeat(height, 0).repeat(width, 1)
    for ink, thickness in ((INK, BORDER + 1), (GIVEN, BORDER)):  # dark shows on any colour
        inside = binary_erosion(region, np.ones((2 * thickness + 1, 2 * thickness + 1)))
        frame.paste(ink, mask=Image.fromarray(region & ~inside))


def pack_picture(
    title: str, facts: Sequence[Fact], headings: Sequence[str], rows: Sequence[HostBatch]
) -> Image.Image:
    """The strips of rows under their headings, below figures of the whole batch."""
    top, each, width = 236, ROW + 54, WIDTH - 2 * MARGIN
    image = Image.new("RGB", (WIDTH, top + each * len(rows) + KEY), PAPER)
    pen = ImageDraw.Draw(image)
    pen.text((MARGIN, MARGIN), title, INK, _font(34))
    for n, fact in enumerate(facts):
        left = MARGIN + n * width / len(facts)
        pen.text((left, 94), fact.name, MUTED, _font(16))
        pen.text((left, 114), fact.value, INK, _font(28))
        pen.text((left, 152), fact.note, MUTED, _font(14))
    for n, (heading, row) in enumerate(zip(headings, rows)):
        pen.text((MARGIN, top + n * each - 26), heading, INK, _font(17))
        image.paste(strip(row, width), (MARGIN, top + n * each))
    _draw_key(pen, MARGIN, top + each * len(rows) - 30)
    return image


def row_picture(
    heading: str,
    row: HostBatch,
    clips: Sequence[PackedClip],
    sheets: Sequence[Image.Image],
    width: int = WIDTH,
) -> Image.Image:
    """A row's strip above its clips, as many side by side as fit into `width` pixels."""
    inner = width - 2 * MARGIN
    blocks = [_block(*each) for each in zip(clips, sheets)]
    places, bottom = _flow([block.size for block in blocks], inner)
    top = MARGIN + 36 + ROW + KEY + GAP
    image = Image.new("RGB", (width, top + bottom + MARGIN), PAPER)
    pen = ImageDraw.Draw(image)
    pen.text((MARGIN, MARGIN), heading, INK, _font(20))
    image.paste(strip(row, inner), (MARGIN, MARGIN + 36))
    _draw_key(pen, MARGIN, MARGIN + 36 + ROW + 8)
    for block, (x, y) in zip(blocks, places):
        image.paste(block, (MARGIN + x, top + y))
    return image


def color(segment: int) -> str:
    """The colour of a segment id."""
    return COLORS[(segment - 1) % len(COLORS)]


def _draw_key(pen: ImageDraw.ImageDraw, left: float, top: float) -> None:
    """A line that explains what strips and frames are drawn with."""
    font, size = _font(14), 14
    text = "vision tokens above, text tokens below"
    pen.text((left, top + size / 2), text, MUTED, font, anchor="lm")
    left += pen.textlength(text, font) + GAP
    for ink, name in ((GIVEN, "given"), (DROPPED[0], "dropped patch"), (HATCHED[1], "padding")):
        box = (left, top, left + size, top + size)
        if ink == GIVEN:
            pen.rectangle(box, fill=PAPER, outline=ink, width=BORDER)
        else:
            pen.rectangle(box, fill=ink)
        pen.text((left + size + 6, top + size / 2), name, MUTED, font, anchor="lm")
        left += size + 6 + pen.textlength(name, font) + GAP


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _runs(values: np.ndarray, width: int) -> Iterator[tuple[int, int, int]]:
    """Yields stretches of equal values other than 0: value, first and last of `width` pixels."""
    bounds = [0, *(np.flatnonzero(np.diff(values)) + 1).tolist(), len(values)]
    for start, stop in itertools.pairwise(bounds):
        if values[start]:
            left, right = (round(at * width / len(values)) for at in (start, stop))
            yield int(values[start]), left, max(left, right - 1)


def _hatched(width: int, height: int) -> Image.Image:
    image = Image.new("RGB", (width, height), HATCHED[0])
    pen = ImageDraw.Draw(image)
    for x in range(-height, width, 12):
        pen.line((x, height, x + height, 0), fill=HATCHED[1], width=2)
    return image


def _block(clip: PackedClip, drawn: Image.Image) -> Image.Image:
    """A clip's number, title, sheet, caption and details."""
    label = str(clip.slot)
    chip = 14 + _font(16).getlength(label)
    title = clip.title + (" · replaces a broken clip" if clip.replaced else "")
    width = max(BLOCK, drawn.width, math.ceil(chip + 8 + _font(15).getlength(title)))
    wrap = lambda text: textwrap.wrap(text, int(width * CHARACTERS))
    lines = [(line, INK) for line in wrap(clip.caption)]
    lines += [(line, MUTED) for detail in clip.details for line in wrap(detail)]
    image = Image.new("RGB", (width, 30 + drawn.height + 8 + 19 * len(lines)), PAPER)
    pen = ImageDraw.Draw(image)
    pen.rectangle((0, 0, chip, 23), fill=color(clip.slot))
    pen.text((chip / 2, 12), label, PAPER, _font(16), anchor="mm")
    pen.text((chip + 8, 12), title, BROKEN if clip.replaced else INK, _font(15), anchor="lm")
    image.paste(drawn, (0, 30))
    for n, (line, ink) in enumerate(lines):
        pen.text((0, 30 + drawn.height + 8 + 19 * n), line, ink, _font(14))
    return image


def _flow(sizes: Sequence[tuple[int, int]], width: int) -> tuple[list[tuple[int, int]], int]:
    """Places (x, y) of boxes that are set like the words of a text, and the height of them all."""
    places, x, y, height = [], 0, 0, 0
    for w, h in sizes:
        if x and x + w > width:
            x, y, height = 0, y + height + GAP, 0
        places.append((x, y))
        x, height = x + w + GAP, max(height, h)
    return places, y + height
