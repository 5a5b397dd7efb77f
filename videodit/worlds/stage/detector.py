"""Finds the slots of a clip of the stage in its frames.

Objects are found by their colours. Small classifiers, trained on clips of this world
(tools/train_stage_detector.py), tell what the objects are, how they move, and what the camera does.
Lengths are in units of the picture's shorter side, measured from its middle.

The detector recognises neither occluders nor what passes behind them: it leaves out the slots
"occluder" and "*.event".
"""

import functools
import itertools
from importlib import resources
from typing import NamedTuple

import numpy as np
from PIL import Image
from scipy import fft, ndimage

from videodit.worlds.stage.facts import LETTERS
from videodit.worlds.stage.scene import COLORS, GROUNDS, PLACES, SEEN_MOTION
from videodit.worlds.stage.space import share
from videodit.worlds.world import Detection, Shape

WEIGHTS = "detector.npz"
PARTS = ("scale", "shift", "weight", "bias")  # arrays of a layer
BRIGHT, COLORFUL = 0.25, 0.55  # least value and saturation of an object's pixel
HUE_ERROR = 0.055  # largest distance from an object's hue, as a part of the colour circle
SMALLEST = 0.0012  # least area of an object
LOOKS = 6  # so many frames are used to tell the form of an object
CELLS = 12  # rows and columns of the picture of a form
POINTS = 16  # points along a track that are features
STEPS = 12  # largest number of steps in which the background's motion is measured
SIDE = 64  # pixels: side of the square in which it is measured


class Track(NamedTuple):
    """An object in all frames."""

    color: str
    masks: np.ndarray  # bool T H W
    area: np.ndarray  # T
    box: np.ndarray  # T 4: left, right, top, bottom (x to the right, y up); NaN if out of sight


def detect(frames: np.ndarray, fps: float) -> dict[str, Detection]:
    """The slots that the frames show. `frames`: uint8 T H W 3, RGB. `fps`: frames a second."""
    count, height, width = frames.shape[:3]
    tracks = find_tracks(frames)
    found = {"count": Detection(("none", "one", "two", "three")[len(tracks)], 0.9)}
    found |= _place(frames, tracks)
    found["style"] = Detection("animation" if count > 1 else "picture", 1.0)
    for letter, track in zip(LETTERS, tracks):
        forms = form_features(frames, track)
        found[f"{letter}.color"] = Detection(track.color, 0.95)
        found |= {f"{letter}.{name}": _told(name, forms) for name in ("kind", "size")}
    if share(Shape(width, height, count, fps)) >= SEEN_MOTION:
        found |= _motions(frames, tracks, found, count / fps)
    return found | _sides(tracks)


def _motions(
    frames: np.ndarray, tracks: list[Track], found: dict[str, Detection], seconds: float
) -> dict[str, Detection]:
    """The motion of the camera and of the objects, whose kinds are `found`."""
    flow = background_motion(frames, tracks)
    motions = _split("camera", "camera.direction", _told("camera", flow))
    for letter, track in zip(LETTERS, tracks):
        move = _told("move", move_features(track, flow, seconds))
        motions |= _split(f"{letter}.motion", f"{letter}.direction", move)
        if move.value.startswith("slide") and found[f"{letter}.kind"].value == "panda":
            motions[f"{letter}.motion"] = Detection("walk", move.confidence)
    return motions


def find_tracks(frames: np.ndarray) -> list[Track]:
    """The objects, from left to right in the first frame."""
    nearest = _nearest_colors(frames)
    tracks = [_track(color, nearest == i) for i, color in enumerate(COLORS)]
    # Every object is in sight in the first frame (`draw_scene`).
    seen = [track for track in tracks if track.area[0] > SMALLEST]
    seen = [track for track in seen if not any(_is_edge(track, other) for other in seen)]
    largest = sorted(seen, key=lambda track: -track.area[0])[: len(LETTERS)]
    return sorted(largest, key=lambda track: track.box[0, :2].mean())


def form_features(frames: np.ndarray, track: Track) -> np.ndarray:
    """What an object looks like in the frames that show most of it: float (looks, features)."""
    largest = np.argsort(-track.area, kind="stable")[:LOOKS]
    best = [i for i in largest if track.area[i] > SMALLEST]
    return np.stack([_form(frames[i], track.masks[i], track.box[i]) for i in best])


def move_features(track: Track, flow: np.ndarray, seconds: float) -> np.ndarray:
    """How an object and the background move: float (1, features).

    `flow`: see `background_motion`. `seconds`: the clip's duration.
    """
    times = np.flatnonzero(np.isfinite(track.box[:, 0]))
    left, right, top, bottom = track.box[times].T
    lines = [
        (left + right) / 2,
        bottom,
        top,
        np.log(top - bottom + 0.01),
        np.log(right - left + 0.01),
    ]
    at = np.linspace(0, len(track.box) - 1, POINTS)
    points = [np.interp(at, times, line) for line in lines]
    shifted = [line - line[0] for line in points]
    wiggle = [abs(np.diff(line)).sum() for line in lines] + [np.ptp(line) for line in lines]
    ends = [line[-1] - line[0] for line in lines]
    back = [line.argmin() / len(line) for line in lines] + [
        line.argmax() / len(line) for line in lines
    ]
    start = [lines[0][0], lines[1][0], lines[3][0], np.log(seconds), np.log(len(track.box))]
    return np.concatenate([*shifted, wiggle, ends, back, start, flow[0]])[None]


def background_motion(frames: np.ndarray, tracks: list[Track]) -> np.ndarray:
    """How the background moves in the clip, part by part: float (1, features)."""
    picked = np.unique(np.linspace(0, len(frames) - 1, STEPS + 1).round().astype(int))
    pictures = np.stack(
        [_background(frames[i], [track.masks[i] for track in tracks]) for i in picked]
    ).astype(np.float32)
    steps = np.stack([_shifts(pictures[:, *part]) for part in _parts()], axis=1)
    total = np.clip(steps.sum(0), -2 * SIDE, 2 * SIDE) / SIDE
    usual = np.median(steps, axis=0) * len(steps) / SIDE
    return np.concatenate([total.ravel(), usual.ravel(), [np.log(len(steps))]])[None]


def _is_edge(track: Track, other: Track) -> bool:
    """Whether a colour is only there because the outline of another object is smoothed."""
    if track.area[0] >= 0.5 * other.area[0]:
        return False
    near = ndimage.binary_dilation(other.masks[0], iterations=2)
    return near[track.masks[0]].mean() > 0.7


def _nearest_colors(frames: np.ndarray) -> np.ndarray:
    """Int8 T H W: for each pixel the index in COLORS of its colour, or -1."""
    high, low = frames.max(-1), frames.min(-1)
    colorful = (high > 255 * BRIGHT) & (high - low > COLORFUL * high)
    off = abs((_hue(frames[colorful])[:, None] - _object_hues() + 0.5) % 1 - 0.5)
    nearest = np.full(frames.shape[:3], -1, np.int8)
    nearest[colorful] = np.where(off.min(-1) < HUE_ERROR, off.argmin(-1), -1)
    return nearest


@functools.cache
def _object_hues() -> np.ndarray:
    """The hues of COLORS."""
    return _hue(255 * np.array(list(COLORS.values())))


def _hue(rgb: np.ndarray) -> np.ndarray:
    """The places on the colour circle, 0 to 1, of colours (..., 3)."""
    r, g, b = np.moveaxis(rgb.astype(np.float32), -1, 0)
    high = np.maximum(np.maximum(r, g), b)
    gap = np.maximum(high - np.minimum(np.minimum(r, g), b), 1e-6)
    of_green = np.where(high == g, 2 + (b - r) / gap, 4 + (r - g) / gap)
    return np.where(high == r, (g - b) / gap, of_green) / 6 % 1


def _track(color: str, masks: np.ndarray) -> Track:
    """The track of the object of this colour. `masks`: bool T H W, the pixels of this colour."""
    side = min(masks.shape[1:])
    area = masks.sum((1, 2)) / side**2
    boxes = np.array([_box(mask, side) for mask in masks])
    boxes[area < SMALLEST / 2] = np.nan
    return Track(color, masks, area, boxes)


def _box(mask: np.ndarray, side: int) -> tuple[float, ...]:
    """The box around the larger pieces of a mask (bool H W): left, right, top, bottom."""
    if not mask.any():
        return (np.nan,) * 4
    pieces, _ = ndimage.label(mask)
    areas = np.bincount(pieces.ravel())[1:]
    kept = np.flatnonzero(areas >= 0.1 * areas.max()) + 1
    y, x = np.nonzero(np.isin(pieces, kept))
    height, width = mask.shape
    return (
        (x.min() - width / 2) / side,
        (x.max() + 1 - width / 2) / side,
        (height / 2 - y.min()) / side,
        (height / 2 - y.max() - 1) / side,
    )


def _form(frame: np.ndarray, mask: np.ndarray, box: np.ndarray) -> np.ndarray:
    """The features of an object's look in a frame: outline, shading, sizes."""
    height, width = mask.shape
    side = min(height, width)
    left, right, top, bottom = box
    reach = max(right - left, top - bottom) / 2 * side
    x, y = (left + right) / 2 * side + width / 2, height / 2 - (top + bottom) / 2 * side
    crop = (x - reach, y - reach, x + reach, y + reach)
    grey = frame.max(-1) * mask
    cells = [_cells(layer, crop) for layer in (mask, grey / max(grey.max(), 1))]
    w, h = right - left, top - bottom
    sizes = [np.log(w), np.log(h), np.log(w / h), mask.sum() / side**2 / (w * h), bottom, x / side]
    return np.concatenate([cells[0].ravel(), cells[1].ravel(), sizes])


def _cells(layer: np.ndarray, crop: tuple[float, float, float, float]) -> np.ndarray:
    """The crop (left, top, right, bottom in pixels) of a layer (H W) at CELLS x CELLS pixels."""
    size = (4 * CELLS, 4 * CELLS)
    picture = Image.fromarray(layer.astype(np.float32)).transform(
        size, Image.Transform.EXTENT, crop, Image.Resampling.BILINEAR
    )
    return np.asarray(picture).reshape(CELLS, 4, CELLS, 4).mean((1, 3))


def _background(frame: np.ndarray, masks: list[np.ndarray]) -> np.ndarray:
    """The grey square in the middle of a frame, SIDE x SIDE pixels, without the objects."""
    grey = frame.mean(-1, dtype=np.float32)
    for mask in masks:
        grey[mask] = np.nan
    grey = np.where(np.isnan(grey), np.nanmedian(grey, axis=1, keepdims=True), grey)
    height, width = grey.shape
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = Image.fromarray(np.nan_to_num(grey[top : top + side, left : left + side]))
    return np.asarray(square.resize((SIDE, SIDE), Image.Resampling.BOX))


@functools.cache
def _parts() -> list[tuple[slice, slice]]:
    """(rows, columns) of bands of the square picture, and of the left and right halves of each."""
    bands = [slice(i * SIDE // 8, i * SIDE // 8 + SIDE // 4) for i in range(0, 7)]
    columns = (slice(0, SIDE), slice(0, SIDE // 2), slice(SIDE // 2, SIDE))
    return [(band, column) for band in bands for column in columns]


def _shifts(pictures: np.ndarray) -> np.ndarray:
    """By how many pixels each picture (N H W) moved from the one before: float (N - 1, 2), y and x.

    By phase correlation; a parabola through the peak gives fractions of a pixel.
    """
    size = pictures.shape[1:]
    window = np.hanning(size[0])[:, None] * np.hanning(size[1])
    spectra = fft.rfft2((pictures - pictures.mean((1, 2), keepdims=True)) * window)
    cross = spectra[1:] * spectra[:-1].conj()
    strength = abs(cross)
    floor = 1e-3 * strength.max((1, 2), keepdims=True) + 1e-9
    peaks = fft.irfft2(cross / (strength + floor), s=size)
    pair = np.arange(len(peaks))
    at = np.unravel_index(peaks.reshape(len(peaks), -1).argmax(1), size)
    found = []
    for axis, length in enumerate(size):
        around = [list(at) for _ in range(3)]
        for step, index in zip((-1, 0, 1), around):
            index[axis] = (at[axis] + step) % length
        low, top, high = (peaks[pair, y, x] for y, x in around)
        part = (high - low) / np.maximum(2 * (2 * top - low - high), 1e-9)
        found.append((at[axis] + length // 2) % length - length // 2 + np.clip(part, -0.5, 0.5))
    return np.stack(found, axis=1)


def _place(frames: np.ndarray, tracks: list[Track]) -> dict[str, Detection]:
    """The place, by the colour of the ground, and what stands around there."""
    height, width = frames.shape[1:3]
    taken = np.zeros((height, width), bool)
    for track in tracks:
        taken |= track.masks[0]
    pixels = frames[0][height // 2 :][~taken[height // 2 :]]
    color = np.median(pixels, 0)
    off = {name: float(np.linalg.norm(color - rgb)) for name, rgb in GROUNDS.items()}
    place = min(off, key=off.__getitem__)
    sure = float(1 - off[place] / sorted(off.values())[1])
    return {"place": Detection(place, sure), "props": Detection(PLACES[place], sure)}


def _sides(tracks: list[Track]) -> dict[str, Detection]:
    """Whether each object stays to the right of its left-hand neighbour."""
    found = {}
    for i, (one, other) in enumerate(itertools.pairwise(tracks)):
        gaps = other.box[:, :2].mean(1) - one.box[:, :2].mean(1)
        if np.nanmin(gaps) > 0:
            found[f"{LETTERS[i + 1]}.side"] = Detection(f"right of {LETTERS[i]}", 0.9)
    return found


def _split(name: str, direction: str, told: Detection) -> dict[str, Detection]:
    """A motion such as "slide left" as two slots with these names."""
    first, _, second = told.value.partition(" ")
    found = {name: Detection(first, told.confidence)}
    return found | {direction: Detection(second, told.confidence)} if second else found


def _told(name: str, features: np.ndarray) -> Detection:
    """The answer of a classifier: the mean of its probabilities over the rows of features."""
    labels, layers = _classifier(name)
    hidden = features
    for i, (scale, shift, weight, bias) in enumerate(layers):
        hidden = np.clip((hidden - shift) / scale, -5, 5) @ weight + bias
        if i + 1 < len(layers):
            hidden = np.maximum(hidden, 0)
    chances = np.exp(hidden - hidden.max(-1, keepdims=True))
    chances = (chances / chances.sum(-1, keepdims=True)).mean(0)
    return Detection(labels[chances.argmax()], float(chances.max()))


@functools.cache
def _classifier(name: str) -> tuple[list[str], list[tuple[np.ndarray, ...]]]:
    """A classifier's labels, and its layers (scale, shift, weight, bias)."""
    with resources.files(__package__).joinpath(WEIGHTS).open("rb") as file:
        stored = np.load(file)
        arrays = {key: stored[key] for key in stored.files if key.startswith(name + ".")}
    count = sum(key.endswith(".weight") for key in arrays)
    layers = [
        tuple(arrays[f"{name}.{i}.{part}"].astype(np.float32) for part in PARTS)
        for i in range(count)
    ]
    return arrays[f"{name}.labels"].tolist(), layers
