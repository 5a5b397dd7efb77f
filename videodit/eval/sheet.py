"""Clips in one picture: each by its first, middle and last frame, above its caption."""

import textwrap
from collections.abc import Iterable

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

Clip = tuple[np.ndarray, str]  # T H W 3 uint8, caption
Row = tuple[str, list[Clip]]  # title or "", clips

GAP, TITLE, LINE = 12, 22, 15  # pixels: between clips, height of a title, of a caption's line
CHARACTER = 6.4  # pixels, about the width of a caption's character
FONT, TITLE_FONT = map(ImageFont.load_default, (12, 15))


def draw(rows: Iterable[Row], frame: tuple[int, int]) -> Image.Image:
    """The picture of rows of clips, whose frames fill boxes of `frame` (width, height) pixels."""
    drawn = [_row(*row, frame) for row in rows]
    size = max(row.width for row in drawn), sum(row.height for row in drawn) + GAP
    picture, top = Image.new("RGB", size, "white"), GAP
    for row in drawn:
        picture.paste(row, (0, top))
        top += row.height
    return picture


def _row(title: str, clips: list[Clip], frame: tuple[int, int]) -> Image.Image:
    width, above = 3 * frame[0] + GAP, TITLE if title else 0
    texts = [textwrap.wrap(caption, int((width - GAP) / CHARACTER)) for _, caption in clips]
    below = GAP + LINE * max(map(len, texts), default=0)
    row = Image.new("RGB", (len(clips) * width + GAP, above + frame[1] + below), "white")
    pen = ImageDraw.Draw(row)
    pen.text((GAP, 0), title, fill="black", font=TITLE_FONT)
    for i, ((frames, _), lines) in enumerate(zip(clips, texts)):
        left = GAP + i * width
        row.paste(_three_frames(frames, frame), (left, above))
        pen.text((left, above + frame[1] + 3), "\n".join(lines), fill="#475569", font=FONT)
    return row


def _three_frames(frames: np.ndarray, size: tuple[int, int]) -> Image.Image:
    """First, middle and last frame side by side; small ones are enlarged without smoothing."""
    small = max(frames.shape[1:3]) <= min(size) // 2
    method = Image.Resampling.NEAREST if small else Image.Resampling.BICUBIC
    picture = Image.new("RGB", (3 * size[0], size[1]))
    for i, image in enumerate((frames[0], frames[len(frames) // 2], frames[-1])):
        picture.paste(ImageOps.pad(Image.fromarray(image), size, method, "white"), (i * size[0], 0))
    return picture
