"""Finds the slots of a clip of sprites in its frames.

Each pixel is given the nearest colour of the palette. All pixels of one colour form a blob, which
is a shape or a stroke. The part of each pixel that a blob covers gives its area and its centre in
every frame to a small fraction of a pixel. The kind of a shape is the one whose outline, drawn at
that centre with that area, differs least from the blob.
"""

import functools
import itertools
import math
from typing import NamedTuple

import numpy as np

from videodit.worlds.sprites.drawing import BACKGROUNDS, COLORS, OUTLINES, coverage
from videodit.worlds.sprites.space import (
    COUNTS,
    DIRECTIONS,
    FAST,
    ROLES,
    SLOW,
    STROKE_FRAMES,
    place,
)
from videodit.worlds.sprites.tracks import GONE, WHOLE, Track, find_track
from videodit.worlds.world import Detection

NAMES = (*COLORS, *BACKGROUNDS)
PALETTE = np.array([*COLORS.values(), *BACKGROUNDS.values()], np.float32)
PURE = 38.0  # largest distance in RGB between a pixel and its colour of the palette
BITS = 5  # of each channel that are looked at
LEAST_AREA = 0.01  # of a blob's pixels, in squares of the shorter side
LONG = 2.2  # a blob is a stroke if the sides of its box have at least this ratio
HIDDEN = 0.12  # least part of a shape that another hides when they pass
SIZE_BOUNDS = {"small": 0.155, "medium": 0.2075, "large": math.inf}  # radius, shorter sides
BOUND_DOUBT = 0.1  # relative distance from a bound at which the confidence is 1


class _Blob(NamedTuple):
    """All that has one colour. Lengths are in units of the shorter side of the picture."""

    color: str
    areas: np.ndarray  # T
    centres: np.ndarray  # T 2: x, y of the centre of area
    covers: np.ndarray  # T H W: the part of each pixel that it covers, 0 to 1
    boxes: np.ndarray  # T 4: left, top, right, bottom in pixels


def detect(frames: np.ndarray, fps: float) -> dict[str, Detection]:
    """The slots that the frames show; the shapes a, b, c are in the order of COLORS.

    `frames`: uint8 T H W 3, RGB. `fps`: frames a second.
    """
    labels = _labels()[_packed(frames)]
    slots, behind = _background(labels)
    moving = len(frames) > 1
    slots["style"] = Detection("animation" if moving else "picture", 1.0)
    if moving:
        slots["camera"] = Detection("still", 1.0)
    blobs = _blobs(frames, labels, behind)
    strokes = [blob for blob in blobs if _is_long(blob)]
    strokes.sort(key=lambda blob: -blob.areas.mean() / blob.areas.max())
    for i, blob in enumerate(strokes, 1):
        slots |= _named(f"stroke{i}", _stroke(blob))
    shapes = [blob for blob in blobs if not _is_long(blob)][: len(ROLES)]
    if shapes:
        slots["count"] = Detection(COUNTS[len(shapes) - 1], 1.0)
    for role, facts in zip(ROLES, _shapes(shapes, labels.shape, fps)):
        slots |= _named(role, facts)
    return slots


def _named(role: str, facts: dict[str, Detection]) -> dict[str, Detection]:
    """The facts under the names of slots of this role."""
    return {f"{role}.{name}": found for name, found in facts.items()}


@functools.cache
def _labels() -> np.ndarray:
    """Int8 2**(3 BITS): the index in NAMES of the colour near each packed colour, or -1."""
    levels = (np.arange(1 << BITS, dtype=np.float32) + 0.5) * (256 >> BITS)
    colors = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), -1).reshape(-1, 1, 3)
    distances = np.sqrt(((colors - PALETTE) ** 2).sum(-1))
    return np.where(distances.min(1) < PURE, distances.argmin(1), -1).astype(np.int8)


def _packed(frames: np.ndarray) -> np.ndarray:
    """Int32 T H W: the upper BITS bits of the three channels of each pixel as one number."""
    red, green, blue = np.moveaxis(frames.astype(np.int32) >> (8 - BITS), -1, 0)
    return (red << 2 * BITS) | (green << BITS) | blue


def _background(labels: np.ndarray) -> tuple[dict[str, Detection], np.ndarray]:
    """The background's slots, and the picture of it without anything in front: float32 H W 3.

    `labels`: T H W, the index in NAMES of each pixel's colour, or -1.
    """
    height, width = labels.shape[1:]
    rows, columns = math.ceil(height / 3), math.ceil(width / 3)
    corners = [
        _most(labels[:, y, x])
        for y in (slice(rows), slice(-rows, None))
        for x in (slice(columns), slice(-columns, None))
    ]
    nw, ne, sw, se = (color for color, _ in corners)
    sure = min(sure for _, sure in corners)
    picture = np.full((height, width), nw)
    if nw == ne and sw == se and nw != sw:
        picture[_border(labels, nw, sw, axis=1) :] = sw
        names = {"top": nw, "bottom": sw}
    elif nw == sw and ne == se and nw != ne:
        picture[:, _border(labels, nw, ne, axis=2) :] = ne
        names = {"left": nw, "right": ne}
    else:
        sure *= (nw == se) and (ne == sw)
        names = {"color": nw}
    slots = {f"background.{name}": Detection(NAMES[i], float(sure)) for name, i in names.items()}
    return slots, PALETTE[picture]


def _most(labels: np.ndarray) -> tuple[int, float]:
    """The most frequent background colour, and its share of the pixels that show a background."""
    counts = np.bincount(labels[labels >= len(COLORS)], minlength=len(NAMES))
    best = int(counts.argmax()) if counts.any() else len(COLORS)
    return best, counts.max() / (counts.sum() or 1)


def _border(labels: np.ndarray, first: int, second: int, axis: int) -> int:
    """The row (axis 1) or column (axis 2) where the second colour begins: the best split."""
    others = tuple({0, 1, 2} - {axis})
    before, after = ((labels == color).sum(others) for color in (first, second))
    right = np.concatenate([[0], before.cumsum()]) + np.concatenate(
        [after[::-1].cumsum()[::-1], [0]]
    )
    return int(right.argmax())


def _blobs(frames: np.ndarray, labels: np.ndarray, behind: np.ndarray) -> list[_Blob]:
    """The blobs of all colours of COLORS that are there, in that order."""
    side = min(labels.shape[1:])
    most = [(labels == i).sum((1, 2)).max() for i in range(len(COLORS))]
    present = [i for i, area in enumerate(most) if area > LEAST_AREA * side * side]
    return [_blob(frames, labels, behind, i, present) for i in present]


def _blob(
    frames: np.ndarray, labels: np.ndarray, behind: np.ndarray, color: int, present: list[int]
) -> _Blob:
    """The blob of one colour. `behind`: the background; `present`: the colours of all blobs."""
    pure = labels == color
    others = np.isin(labels, [i for i in present if i != color])
    way = PALETTE[color] - behind
    covers = ((frames - behind) * way).sum(-1) / (way * way).sum(-1)
    covers = np.clip(covers, 0, 1) * (_grown(pure, 2) & ~others)
    height, width = labels.shape[1:]
    sums = covers.sum((1, 2))
    safe = np.maximum(sums, 1e-6)
    x = (covers.sum(1) @ (np.arange(width) + 0.5)) / safe
    y = (covers.sum(2) @ (np.arange(height) + 0.5)) / safe
    side = min(height, width)
    boxes = np.concatenate([_ends(pure.any(1)), _ends(pure.any(2))], 1)[:, [0, 2, 1, 3]]
    centres = np.stack([x, y], 1) / side
    return _Blob(list(COLORS)[color], sums / side**2, centres, covers, boxes)


def _grown(mask: np.ndarray, pixels: int) -> np.ndarray:
    """A mask (bool T H W) and the pixels next to it, up to so many pixels in each direction."""
    for axis in (1, 2):
        for _ in range(pixels):
            grown = mask.copy()
            ahead, back = (
                (slice(None),) * axis + (slice(1, None),),
                (slice(None),) * axis + (slice(-1),),
            )
            grown[ahead] |= mask[back]
            grown[back] |= mask[ahead]
            mask = grown
    return mask


def _ends(lines: np.ndarray) -> np.ndarray:
    """The first true column of each row of a mask (T N) and the one after the last: T 2.

    Both are 0 where there is none.
    """
    first, last = lines.argmax(1), lines.shape[1] - lines[:, ::-1].argmax(1)
    return np.stack([first, last], 1) * lines.any(1, keepdims=True)


def _is_long(blob: _Blob) -> bool:
    """Whether a blob is a stroke."""
    left, top, right, bottom = blob.boxes[blob.areas.argmax()]
    return not 1 / LONG < (right - left) / max(bottom - top, 1) < LONG


def _stroke(blob: _Blob) -> dict[str, Detection]:
    """The slots of a stroke, without their role."""
    left, top, right, bottom = blob.boxes[-1]
    level = right - left > bottom - top
    line = "horizontal" if level else "vertical"
    facts = {"color": Detection(blob.color, 1.0), "line": Detection(line, 1.0)}
    if len(blob.areas) >= STROKE_FRAMES:
        first = blob.boxes[blob.areas > GONE * blob.areas.max()][0]
        low, high = (0, 2) if level else (1, 3)
        back, ahead = first[low] - blob.boxes[-1][low], blob.boxes[-1][high] - first[high]
        ways = ("left", "right") if level else ("up", "down")
        sure = abs(ahead - back) / max(ahead + back, 1)
        facts["way"] = Detection(ways[int(ahead > back)], float(min(max(sure, 0), 1)))
    return facts


def _shapes(blobs: list[_Blob], shape: tuple, fps: float) -> list[dict[str, Detection]]:
    """The slots of each shape, without their role. `shape`: the frames' T H W."""
    side = min(shape[1:])
    size = np.array(shape[:0:-1]) / side
    looks = [_look(blob, side) for blob in blobs]
    found = [
        {"color": Detection(blob.color, 1.0)} | facts for blob, (facts, _) in zip(blobs, looks)
    ]
    if shape[0] > 1:
        tracks = [find_track(blob.areas, blob.centres, size, fps) for blob in blobs]
        for facts, track, event in zip(found, tracks, _events(tracks, blobs)):
            facts |= _motion(track, event)
    for facts, blob, (_, offset) in zip(found, blobs, looks):
        if shape[0] == 1 or facts["motion"].value == "still":
            whole = blob.areas >= WHOLE * blob.areas.max()
            at = place(*((blob.centres[whole].mean(0) - offset) / size))
            facts["at"] = Detection(at, 1.0)
    return found


def _motion(track: Track, event: str) -> dict[str, Detection]:
    """The slots that tell of a shape's motion."""
    facts = {"motion": Detection(track.motion, 1.0)}
    if track.motion != "still":
        name = "slow" if track.speed < SLOW else "fast" if track.speed > FAST else "medium"
        doubt = min(abs(track.speed / bound - 1) for bound in (SLOW, FAST))
        facts["speed"] = Detection(name, min(doubt / BOUND_DOUBT, 1.0))
    facts |= {"event": Detection(event, 1.0)} if event else {}
    facts |= {"then": Detection(track.then, 1.0)} if track.then else {}
    return facts


@functools.cache
def _unit(kind: str) -> tuple[float, np.ndarray]:
    """The area and the centre of area (x, y) of a shape of radius 1."""
    span = np.linspace(-1.5, 1.5, 601)
    inside = OUTLINES[kind](span[:, None], span[None, :], 1.0) <= 0
    rows, columns = np.nonzero(inside)
    area = inside.sum() * (span[1] - span[0]) ** 2
    return float(area), np.array([span[columns].mean(), span[rows].mean()])


def _look(blob: _Blob, side: int) -> tuple[dict[str, Detection], np.ndarray]:
    """The slots kind and size, and the offset (2) of the centre of area from the shape's centre."""
    best = np.argsort(blob.areas)[::-1][:3]
    whole = [t for t in best if blob.areas[t] >= WHOLE * blob.areas.max()]
    errors = {kind: sum(_misfit(blob, t, kind, side) for t in whole) for kind in OUTLINES}
    kind, second = sorted(errors, key=errors.__getitem__)[:2]
    area, centre = _unit(kind)
    radius = math.sqrt(np.mean(blob.areas[whole]) / area)
    size = next(name for name, bound in SIZE_BOUNDS.items() if radius < bound)
    doubt = min(abs(radius / bound - 1) for bound in list(SIZE_BOUNDS.values())[:2])
    facts = {
        "kind": Detection(kind, float(1 - errors[kind] / max(errors[second], 1e-6))),
        "size": Detection(size, float(min(doubt / BOUND_DOUBT, 1))),
    }
    return facts, centre * radius


def _misfit(blob: _Blob, t: int, kind: str, side: int) -> float:
    """How much a drawn shape of that kind, of equal area and centre, differs from frame t.

    `side`: pixels of the shorter side.
    """
    area, centre = _unit(kind)
    radius = math.sqrt(blob.areas[t] / area) * side
    x, y = blob.centres[t] * side - centre * radius
    height, width = blob.covers.shape[1:]
    dy, dx = np.arange(height) + 0.5 - y, np.arange(width) + 0.5 - x
    drawn = coverage(kind, radius, dy[:, None], dx[None, :])
    return float(np.abs(drawn - blob.covers[t]).sum() / blob.covers[t].sum())


def _events(tracks: list[Track], blobs: list[_Blob]) -> list[str]:
    """The event of each shape: those of the tracks, collisions (two that bounce) and passings."""
    events = [track.event for track in tracks]
    for (i, one), (j, other) in itertools.combinations(enumerate(tracks), 2):
        if one.event.startswith("bounces") and other.event.startswith("bounces"):
            events[i], events[j] = f"collides with {ROLES[j]}", f"collides with {ROLES[i]}"
    for (i, one), (j, other) in itertools.permutations(enumerate(tracks), 2):
        if other.motion == "still" and one.motion in DIRECTIONS and not one.event:
            how = _passing(one, other, blobs[i], blobs[j])
            events[i] = f"passes {how} {ROLES[j]}" if how else events[i]
    return events


def _passing(mover: Track, still: Track, one: _Blob, other: _Blob) -> str | None:
    """How one shape passes another: "behind", "in front of", or None if it does not."""
    reach = _half_box(one) + _half_box(other)
    near = (np.abs(mover.path - still.path) < reach).all(1)
    if not near.any():
        return None
    lost = [float(blob.areas.max() - blob.areas[near].min()) for blob in (one, other)]
    if max(lost[0] / one.areas.max(), lost[1] / other.areas.max()) < HIDDEN:
        return None
    return "behind" if lost[0] > lost[1] else "in front of"


def _half_box(blob: _Blob) -> np.ndarray:
    """Half the width and half the height of a shape (2), where most of it is seen."""
    left, top, right, bottom = blob.boxes[blob.areas.argmax()]
    return np.array([right - left, bottom - top]) / 2 / min(blob.covers.shape[1:])
