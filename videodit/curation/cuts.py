"""Decides what is cut out of which film: shapes, shots and lists of cuts. It decodes no film."""

import math
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from videodit.config import ConfigError, check
from videodit.data.video.files import VideoInfo, fits, survey
from videodit.data.video.kinds import is_media, unread
from videodit.data.video.timing import LATE
from videodit.files import (
    captions_of,
    finite_number,
    is_utf8,
    parse_object,
    read_lines,
    short_name,
    shown_name,
    whole_number,
)

SHAPE = re.compile(r"(\d+)x(\d+)x(\d+)(?:@(\d+(?:\.\d+)?))?")
SIDECAR = ".jsonl"  # suffix of the file with a film's shots
VAL_SECONDS = 1.2  # a shorter end of a shot is not held out for validation
IMAGE_SECONDS = 2.0  # a shot gives one image for each such stretch
FPS_SLACK = 1.01  # factor between rates that count as equal, such as 23.976 and 24


class Shape(NamedTuple):
    """Size, length and rate of a kind of clips."""

    width: int  # pixels
    height: int
    frames: int  # 1 is an image
    fps: float | None  # None: the film's rate

    def __str__(self) -> str:
        rate = "" if self.fps is None else f"@{self.fps:g}"
        return f"{self.width}x{self.height}x{self.frames}{rate}"


class Shot(NamedTuple):
    """The frames start <= k < end of a film, without a cut in between.

    Frame k is the picture that is shown at k / fps seconds, at the film's mean rate.
    """

    start: int
    end: int
    captions: tuple[str, ...]  # empty: its clips get captions of measured facts


class Film(NamedTuple):
    """A video file to be cut."""

    path: Path
    name: str  # unique within the dataset and fit for a file name (files.py:short_name)
    info: VideoInfo
    shots: list[Shot]


class Cut(NamedTuple):
    """A clip to be made: which frames of the film, in which form."""

    shape: Shape
    frames: tuple[float, ...]  # of the film, as a Shot counts them; 2.5 lies between two
    fps: float
    captions: tuple[str, ...]
    split: str  # "train" or "val"


def parse_shapes(text: str) -> list[Shape]:
    """Shapes from the text "WIDTHxHEIGHTxFRAMES[@FPS],...". Raises ConfigError for a wrong one."""
    shapes = []
    for word in text.split(","):
        match = SHAPE.fullmatch(word.strip())
        if not match:
            raise ConfigError(
                f"shapes={word!r}: expected WIDTHxHEIGHTxFRAMES[@FPS], such as 96x56x17@12"
            )
        width, height, frames = (int(number) for number in match.groups()[:3])
        shape = Shape(width, height, frames, float(match[4]) if match[4] else None)
        even = width % 2 == 0 and height % 2 == 0
        positive = min(width, height, frames) >= 1 and (shape.fps is None or shape.fps > 0)
        check(even and positive, "shapes", word, "even sizes, and no zero")
        check(shape not in shapes, "shapes", word, "each shape once")
        shapes.append(shape)
    return shapes


def read_films(videos: Path, broken: dict[Path, str]) -> list[Film]:
    """The films to cut, in the order of their names.

    Films that cannot be read are added to `broken`, with the reason. Raises ConfigError if there is
    no usable film.
    """
    if not videos.exists():
        raise ConfigError(f"input={str(videos)!r}: no such file or folder")
    check(is_utf8(str(videos)), "input", str(videos), "a path in UTF-8")
    folder, paths = videos, sorted(videos.rglob("*"))
    if videos.is_file():
        folder, paths = videos.parent, [videos]
    if others := unread((str(path) for path in paths if path.is_file()), [SIDECAR]):
        print(f"left out: captioned files of other kinds: {others}", flush=True)
    films = []
    for path in paths:
        if path == videos or (path.is_file() and is_media(path.name)):
            try:
                films.append(read_film(path, short_name(path.relative_to(folder).as_posix())))
            except ConfigError as error:
                broken[path] = str(error)
                _say_left_out(str(error))
    if not films:
        raise ConfigError(f"input={str(videos)!r}: no usable video; {list(broken.values())[:3]}")
    return films


def read_film(path: Path, name: str) -> Film:
    """What is known of a film before it is decoded, with its shots from the file beside it.

    A wrong line of that file is printed and left out. Raises ConfigError if the film cannot be
    used, or if the file has no shot that can.
    """
    if not is_utf8(str(path)):
        raise ConfigError(f"{shown_name(path)}: expected a name in UTF-8")
    info, starts = survey(path)
    sidecar = path.with_suffix(SIDECAR)
    if not os.path.exists(sidecar):  # False also for a name that is too long
        return Film(path, name, info, [Shot(0, info.frames, ())])
    shots: list[Shot] = []

    def parse(line: str) -> None:
        shots.append(_shot(parse_object(line), info, shots))

    read_lines(sidecar, parse, _say_left_out)
    if not shots:
        raise ConfigError(f"{sidecar}: expected a shot a line; none can be used")
    return Film(path, name, info, _by_time(sorted(shots), starts, info))


def _by_time(shots: list[Shot], starts: list[float], info: VideoInfo) -> list[Shot]:
    """Shots that counted the frames in the file; `starts` are the frames' times in seconds."""
    numbers = [math.ceil(start * info.fps - LATE) for start in starts] + [info.frames]
    timed = (shot._replace(start=numbers[shot.start], end=numbers[shot.end]) for shot in shots)
    return [shot for shot in timed if shot.start < shot.end]


def _shot(fields: Mapping[str, Any], info: VideoInfo, others: list[Shot]) -> Shot:
    """The shot of a line. Raises ConfigError, also if it overlaps one of the others."""
    start, end = (whole_number(fields, name, "frames") for name in ("start", "end"))
    expected = f"0 <= start < end <= {info.frames}, the film's frames"
    check(0 <= start < end <= info.frames, "start, end", (start, end), expected)
    overlap = next((shot for shot in others if start < shot.end and shot.start < end), None)
    if overlap:
        expected = f"no overlap with the shot of frames {overlap.start} to {overlap.end}"
        check(False, "start, end", (start, end), expected)
    fps = finite_number({"fps": info.fps} | dict(fields), "fps")
    same_rate = 1 / FPS_SLACK < fps / info.fps < FPS_SLACK
    check(same_rate, "fps", fps, f"the film's {info.fps:g}")
    return Shot(start, end, captions_of(fields))


def _say_left_out(reason: str) -> None:
    print(f"left out: {reason}", flush=True)


def refusal(shape: Shape, info: VideoInfo) -> str | None:
    """Why a film cannot give clips of this shape; None if it can. Films are never enlarged."""
    if not fits(info, shape.width, shape.height):
        return f"larger than the film, {info.width}x{info.height}"
    if shape.fps is not None and shape.fps > info.fps * FPS_SLACK:
        return f"more frames per second than the film, {info.fps:g}"
    return None


def check_shapes(shapes: list[Shape], films: list[Film]) -> None:
    """Raises ConfigError for a shape that no film can give; prints how many films lack a shape."""
    for shape in shapes:
        refusals = [reason for film in films if (reason := refusal(shape, film.info))]
        if len(refusals) == len(films):
            raise ConfigError(f"shapes='{shape}': {refusals[0]}; expected what a film has")
        if refusals:
            print(f"shape {shape}: not from {len(refusals)} of {len(films)} videos, {refusals[0]}")


def list_all_cuts(
    films: list[Film], shapes: list[Shape], val_fraction: float, max_clips: int
) -> list[tuple[Film, list[Cut]]]:
    """Films with the clips to cut from each; at most `max_clips` in all, if that is not 0."""
    jobs, left = [], max_clips or sys.maxsize
    for film in films:
        cuts = list_cuts(film, shapes, val_fraction)[:left]
        left -= len(cuts)
        if cuts:
            jobs.append((film, cuts))
    return jobs


def list_cuts(film: Film, shapes: list[Shape], val_fraction: float) -> list[Cut]:
    """The clips that a film gives, in the order of their first frame."""
    cuts = []
    for shape in shapes:
        if refusal(shape, film.info):
            continue
        fps = shape.fps or film.info.fps
        for shot in film.shots:
            for start, end, split in spans(shot, film.info.fps, val_fraction):
                if shape.frames == 1:
                    clips = image_frames(start, end, film.info.fps)
                else:
                    clips = clip_frames(start, end, film.info.fps / fps, shape.frames)
                cuts += [Cut(shape, frames, fps, shot.captions, split) for frames in clips]
    return sorted(cuts, key=lambda cut: cut.frames)


def spans(shot: Shot, fps: float, val_fraction: float) -> list[tuple[int, int, str]]:
    """The part of a shot for training and, if the shot is long enough, its end for validation.

    Parts are (start, end, split) in frames of the film. A clip lies within one part, so no moment
    of a validation clip is in a training clip of any shape.
    """
    length = int((shot.end - shot.start) * val_fraction)
    if length < VAL_SECONDS * fps:
        return [(shot.start, shot.end, "train")]
    middle = shot.end - length
    return [(shot.start, middle, "train"), (middle, shot.end, "val")]


def clip_frames(start: int, end: int, step: float, frames: int) -> list[tuple[float, ...]]:
    """The frames of consecutive clips between `start` and `end`, as in Cut.

    A clip has `frames` frames, which are `step` film frames apart.
    """
    step = max(step, 1.0)
    places = start + np.arange((end - start) / step) * step
    places = places[places <= end - 1]
    places = places[: len(places) // frames * frames].reshape(-1, frames)
    return [tuple(clip) for clip in places.tolist()]


def image_frames(start: int, end: int, fps: float) -> list[tuple[float, ...]]:
    """The middle frames of equal parts that are IMAGE_SECONDS long or more."""
    parts = max(1, int((end - start) / (IMAGE_SECONDS * fps)))
    return [(start + (2 * part + 1) * (end - start) // (2 * parts),) for part in range(parts)]
