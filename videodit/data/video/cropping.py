"""Decoded frames of any pixel format to RGB pixels of a given size, as a player shows them."""

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.sidedata.sidedata import Type as SideData

from videodit.config import ConfigError
from videodit.data.video import tone
from videodit.data.video.graphs import filter_graph

SQUARE = Fraction(1)
WIDEST = 8  # heights of a pixel; wider and narrower ones are not meant
LARGEST = 1 << 16  # denominator of an aspect
PHOTO = "_pipe"  # FFmpeg's names of the formats of photos end so
UNSPECIFIED = 2  # FFmpeg's number of an unknown colour matrix
SD_HEIGHT = 576  # pixels: up to it players take BT.601 for an unknown matrix, above it BT.709


def cropper(
    first: av.VideoFrame, width: int, height: int, aspect: Fraction = SQUARE
) -> Callable[[av.VideoFrame], np.ndarray]:
    """Makes a function from frames like `first` to uint8 H W 3 (RGB) of the given size.

    `aspect` is the width of a stored pixel in heights. The function crops the centre to the asked
    shape and averages areas down to the size, both in one FFmpeg filter graph, and turns the
    picture as its display matrix says. Transparent pixels become black; high dynamic range becomes
    BT.709 (videodit/data/video/tone.py). Raises ConfigError for a size larger than the frame.
    """
    film_height, film_width = displayed_size(first, aspect)
    if width > film_width or height > film_height:
        raise ConfigError(f"is {film_width}x{film_height}, smaller than the {width}x{height} asked")
    turn, kind = _turner(first), _kind(first)
    if _is_transposed(first):
        width, height = height, width
    graph = filter_graph(first, _filters(first, width, height, aspect))

    def crop(frame: av.VideoFrame) -> np.ndarray:
        if _kind(frame) != kind:
            raise ConfigError(f"changes its picture from {kind} to {_kind(frame)}")
        graph.vpush(frame)
        plane = graph.vpull().planes[0]
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(height, plane.line_size)
        return turn(rows[:, : 3 * width].reshape(height, width, 3))

    return crop


def displayed_size(frame: av.VideoFrame, aspect: Fraction = SQUARE) -> tuple[int, int]:
    """Height and width of a frame as displayed, with square pixels; no side is enlarged."""
    size = round(frame.height / max(aspect, SQUARE)), round(frame.width * min(aspect, SQUARE))
    height, width = (max(side, 1) for side in size)
    return (width, height) if _is_transposed(frame) else (height, width)


def pixel_aspect(stream: Any) -> Fraction:
    """The width of a video stream's pixels in heights; 1 for photos, as viewers show them."""
    stated = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio
    photo = stream.container.format.name == "image2" or stream.container.format.name.endswith(PHOTO)
    if photo or not stated or not 1 / WIDEST <= float(stated) <= WIDEST:
        return SQUARE
    return Fraction(float(stated)).limit_denominator(LARGEST)


def _filters(
    first: av.VideoFrame, width: int, height: int, aspect: Fraction
) -> list[tuple[str, dict[str, str]]]:
    """(name, options) of FFmpeg's filters from frames like `first` to RGB of this stored size."""
    filters = []
    if first.format.has_palette or any(part.is_alpha for part in first.format.components):
        filters += [("format", {"pix_fmts": "gbrap"}), ("premultiply", {"inplace": "1"})]
    scale = {"w": str(width), "h": str(height), "flags": "area+accurate_rnd+full_chroma_int"}
    matrix = _unstated_matrix(first)
    if matrix:
        scale["in_color_matrix"] = matrix
    filters += [("crop", _centre(first, width, height, aspect)), ("scale", scale)]
    if first.color_trc in tone.CURVES:
        table = {"file": str(tone.table_file(first.color_trc)), "interp": "tetrahedral"}
        filters += [("format", {"pix_fmts": "gbrp16le"}), ("lut3d", table)]
    return [*filters, ("format", {"pix_fmts": "rgb24"})]


def _unstated_matrix(frame: av.VideoFrame) -> str:
    """The colour matrix that players take for a frame that states none; "": FFmpeg's own choice."""
    if frame.colorspace != UNSPECIFIED or frame.format.is_rgb:
        return ""
    if frame.color_trc in tone.CURVES:
        return "bt2020"
    return "bt709" if frame.height > SD_HEIGHT else ""


def _centre(frame: av.VideoFrame, width: int, height: int, aspect: Fraction) -> dict[str, str]:
    """Options of FFmpeg's crop: the largest part that shows the shape width : height."""
    w = max(1, min(frame.width, round(frame.height * width / (height * aspect))))
    h = max(1, min(frame.height, round(frame.width * height * aspect / width)))
    # Even offsets keep chroma samples in place; `exact` keeps odd sizes.
    x, y = (frame.width - w) // 4 * 2, (frame.height - h) // 4 * 2
    return {"w": str(w), "h": str(h), "x": str(x), "y": str(y), "exact": "1"}


def _kind(frame: av.VideoFrame) -> str:
    return f"{frame.width}x{frame.height} {frame.format.name}"


def _is_transposed(frame: av.VideoFrame) -> bool:
    a, b = _display_matrix(frame)[0]
    return abs(a) < abs(b)


def _display_matrix(frame: av.VideoFrame) -> np.ndarray:
    """2 2: displays a stored pixel (x, y) at (x, y) @ matrix (FFmpeg's libavutil/display.h)."""
    try:
        data: Any = frame.side_data.get(SideData.DISPLAYMATRIX)  # type: ignore[call-overload]
    except ValueError:  # PyAV knows no side data such as EXIF; without the matrix nothing mirrors
        cos, sin = np.cos(angle := np.deg2rad(frame.rotation)), np.sin(angle)
        return np.rint([[cos, -sin], [sin, cos]])
    if data is None:
        return np.eye(2)
    return np.frombuffer(data, np.int32).reshape(3, 3)[:2, :2].astype(float)


def _turner(frame: av.VideoFrame) -> Callable[[np.ndarray], np.ndarray]:
    """From stored to displayed pixels H W 3: one of the eight turns and mirrorings, as a view."""
    right, down = np.where(_display_matrix(frame).sum(0) < 0, -1, 1)
    axes = (1, 0, 2) if _is_transposed(frame) else (0, 1, 2)
    return lambda pixels: pixels.transpose(axes)[::down, ::right]
