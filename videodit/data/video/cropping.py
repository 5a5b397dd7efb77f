"""Decoded frames of any pixel format to RGB pixels of a given size, as a player shows them."""

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.sidedata.sidedata import Type as SideData

from videodit.config import ConfigError

UNSPECIFIED = 2  # FFmpeg's number of an unknown colour matrix
SD_HEIGHT = 576  # pixels: up to it players take BT.601 for an unknown matrix, above it BT.709


def cropper(first: av.VideoFrame, width: int, height: int) -> Callable[[av.VideoFrame], np.ndarray]:
    """Makes a function from frames like `first` to uint8 H W 3 (RGB) of the given size.

    The function crops the centre to the asked aspect and averages areas down to the size, both in
    one FFmpeg filter graph, and turns the picture as its display matrix says. Transparent pixels
    become black. Raises ConfigError for a size larger than the frame.
    """
    film_height, film_width = displayed_size(first)
    if width > film_width or height > film_height:
        raise ConfigError(f"is {film_width}x{film_height}, smaller than the {width}x{height} asked")
    turn, kind = _turner(first), _kind(first)
    if _is_transposed(first):
        width, height = height, width
    graph = av.filter.Graph()
    graph.threads = 1
    source = graph.add_buffer(
        width=first.width,
        height=first.height,
        format=first.format,
        time_base=first.time_base or Fraction(1, 1000),
    )
    steps = [graph.add(name, options) for name, options in _filters(first, width, height)]
    graph.link_nodes(source, *steps, graph.add("buffersink")).configure()

    def crop(frame: av.VideoFrame) -> np.ndarray:
        if _kind(frame) != kind:
            raise ConfigError(f"changes its picture from {kind} to {_kind(frame)}")
        graph.vpush(frame)
        plane = graph.vpull().planes[0]
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(height, plane.line_size)
        return turn(rows[:, : 3 * width].reshape(height, width, 3))

    return crop


def displayed_size(frame: av.VideoFrame) -> tuple[int, int]:
    """Height and width of a frame as displayed."""
    size = frame.height, frame.width
    return size[::-1] if _is_transposed(frame) else size


def _filters(first: av.VideoFrame, width: int, height: int) -> list[tuple[str, str]]:
    """(name, options) of FFmpeg's filters from frames like `first` to RGB of this stored size."""
    filters = []
    if first.format.has_palette or any(part.is_alpha for part in first.format.components):
        filters += [("format", "gbrap"), ("premultiply", "inplace=1")]
    crop_width, crop_height = _centre(first.width, first.height, width, height)
    # Even offsets keep chroma samples in place; `exact` keeps odd sizes.
    x, y = (first.width - crop_width) // 4 * 2, (first.height - crop_height) // 4 * 2
    filters.append(("crop", f"{crop_width}:{crop_height}:{x}:{y}:exact=1"))
    scale = f"{width}:{height}:flags=area+accurate_rnd+full_chroma_int"
    if first.colorspace == UNSPECIFIED and first.height > SD_HEIGHT and not first.format.is_rgb:
        scale += ":in_color_matrix=bt709"
    return [*filters, ("scale", scale), ("format", "rgb24")]


def _centre(film_width: int, film_height: int, width: int, height: int) -> tuple[int, int]:
    """Size of the largest crop of a film with the aspect width : height."""
    return (
        min(film_width, round(film_height * width / height)),
        min(film_height, round(film_width * height / width)),
    )


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
