"""What the stage shows: objects, how they move, the camera. Numbers only; nothing is drawn here.

Metres, seconds and degrees: x to the right, y away from the viewer, z up; the stage's middle is
the origin. A scene depends on a clip's duration and aspect, not on its resolution.
"""

import functools
from typing import NamedTuple

import numpy as np

from videodit.worlds.world import Shape

# RGB, 0..1. None is near 0 or 1: there the renderer's colours wrap round at the edge of a thing.
COLORS = {
    "red": (0.88, 0.1, 0.1),
    "orange": (0.92, 0.5, 0.1),
    "yellow": (0.92, 0.84, 0.12),
    "green": (0.12, 0.66, 0.16),
    "turquoise": (0.12, 0.82, 0.76),
    "blue": (0.14, 0.26, 0.92),
    "purple": (0.48, 0.15, 0.8),
    "pink": (0.92, 0.32, 0.63),
}
KINDS = ("ball", "cube", "cylinder", "cone", "ring", "teapot", "panda")
HELD_OUT = frozenset(
    (color, kind)
    for i, color in enumerate(COLORS)
    for j, kind in enumerate(KINDS)
    if (i + j) % len(COLORS) == 5
)
SIZES = {"small": (0.64, 0.72), "large": (0.95, 1.05)}  # metres: about half the height
PLACES = {"meadow": "trees", "desert": "rocks", "snowfield": "trees", "plaza": "columns"}
PLACES |= {"moon": "rocks"}
GROUNDS = {  # RGB of 255: the mean colour of the ground
    "meadow": (112, 136, 74),
    "desert": (214, 186, 140),
    "snowfield": (236, 239, 243),
    "plaza": (150, 146, 142),
    "moon": (104, 103, 104),
}
UNSEEN = {("green", "meadow"), ("green", "snowfield"), ("orange", "desert"), ("yellow", "desert")}
CAMERAS = {
    "still": (None,),
    "orbit": ("left", "right"),
    "pan": ("left", "right"),
    "dolly": ("in", "out"),
}
ACROSS, ALONG = ("left", "right"), ("closer", "away")
LANES = (-2.0, 0.0, 2.0)  # metres: no two objects share a lane
HALF_FOV = 20.0  # degrees: of the shorter side of the picture
LOOK_AT = (0.0, 0.0, 1.1)
FULL_SPEED = 1.0  # seconds: a shorter clip shows that part of a motion
SEEN_MOTION = 0.25  # a smaller part of a motion is not spoken of
APART = 0.15  # halves of the shorter side: between the middles of neighbours at first
BEHIND = 1.5  # metres: from the occluder to the object that passes behind it


class Thing(NamedTuple):
    """One object."""

    kind: str
    color: str
    size: str
    radius: float  # metres: half the height of a ball
    start: np.ndarray  # x y z of the point on which it stands
    heading: float  # degrees, counter-clockwise seen from above
    motion: str
    direction: str | None
    reach: np.ndarray  # x y z: of the whole motion; a circle's radius in x
    turns: float  # circles or bounces in the clip


class Occluder(NamedTuple):
    """A thing that stands in the way; a box as far as hiding is concerned."""

    kind: str  # wall, pillar
    middle: tuple[float, float]  # x y
    width: float
    height: float
    depth: float


class Scene(NamedTuple):
    """All that a clip shows."""

    things: tuple[Thing, ...]  # from left to right in the first frame
    occluder: Occluder | None
    place: str
    camera: str
    camera_direction: str | None
    height: float  # metres: of the camera
    distance: float
    swing: float  # degrees of an orbit or pan, metres of a dolly
    seed: int  # of what stands around


class View(NamedTuple):
    """Where the camera is and what it looks at."""

    position: np.ndarray  # x y z
    target: np.ndarray


def duration(shape: Shape) -> float:
    """Seconds from the first to the last frame."""
    return (shape.frames - 1) / shape.fps


def share(shape: Shape) -> float:
    """How much of a motion is seen, 0..1."""
    return min(1.0, duration(shape) / FULL_SPEED)


def half_extents(shape: Shape) -> tuple[float, float]:
    """Tangents of half the angle of view: horizontal, vertical."""
    tangent = np.tan(np.radians(HALF_FOV)) / min(shape.width, shape.height)
    return tangent * shape.width, tangent * shape.height


def draw_scene(rng: np.random.Generator, shape: Shape, held_out: bool) -> Scene:
    """A scene whose objects are all in sight and apart in the first frame."""
    while True:
        scene = _random_scene(rng, shape, held_out)
        first, middles = view(scene, shape, 0), middles_of(scene, shape)[0]
        across = project(middles, first, shape)[:, 0]
        seen = [visible(scene, shape, first, middles, i) for i in range(len(scene.things))]
        apart = np.diff(np.sort(across)) * shape.width > APART * min(shape.width, shape.height)
        if min(seen) > 0.9 and apart.all() and not _touching(scene):
            return scene._replace(things=tuple(scene.things[i] for i in np.argsort(across)))


def positions(scene: Scene, shape: Shape) -> np.ndarray:
    """Where each object stands: frames, objects, x y z."""
    done = np.linspace(0, 1, shape.frames)[:, None] if shape.frames > 1 else np.zeros((1, 1))
    return np.stack([thing.start + _moved(thing, done, shape) for thing in scene.things], axis=1)


def view(scene: Scene, shape: Shape, frame: int) -> View:
    """The camera of a frame."""
    done = (frame / max(shape.frames - 1, 1) - 0.5) * share(shape)
    sign = {"left": -1, "right": 1, "in": -1, "out": 1, None: 0}[scene.camera_direction]
    middle, swing = np.array(LOOK_AT), sign * done * scene.swing
    position = np.array([0.0, -scene.distance, scene.height])
    if scene.camera == "orbit":
        return View(_turned(position, swing), middle)
    if scene.camera == "pan":
        return View(position, position + _turned(middle - position, -swing))
    if scene.camera == "dolly":
        ahead = (position - middle) / np.linalg.norm(position - middle)
        return View(position + swing * ahead, middle)
    return View(position, middle)


def project(points: np.ndarray, seen: View, shape: Shape) -> np.ndarray:
    """Points (..., x y z) on the picture: x and y in -1..1 (right, up), and depth in metres."""
    forward = seen.target - seen.position
    forward = forward / np.linalg.norm(forward)
    right = np.cross(forward, (0, 0, 1))
    right /= np.linalg.norm(right)
    axes = np.stack([right, np.cross(right, forward), forward], axis=-1)
    across, up, depth = np.moveaxis((points - seen.position) @ axes, -1, 0)
    wide, high = half_extents(shape)
    return np.stack([across / depth / wide, up / depth / high, depth], axis=-1)


def visible(scene: Scene, shape: Shape, seen: View, middles: np.ndarray, i: int) -> float:
    """The share of object i that is in the picture and not hidden, 0..1.

    `middles`: of all objects in that frame (objects, x y z).
    """
    points = _disc(middles[i], scene.things[i].radius, seen)
    flat = project(points, seen, shape)
    inside = (abs(flat[:, :2]) < 1).all(axis=1)
    return float((inside & ~_hidden(points, scene, seen, middles, i)).mean())


def middles_of(scene: Scene, shape: Shape) -> np.ndarray:
    """The middle of each object: frames, objects, x y z."""
    up = [(0, 0, thing.radius) for thing in scene.things]
    return positions(scene, shape) + np.array(up)


def _random_scene(rng: np.random.Generator, shape: Shape, held_out: bool) -> Scene:
    place = _choice(rng, list(PLACES))
    camera = _choice(rng, list(CAMERAS))
    if share(shape) < SEEN_MOTION:
        camera = "still"
    distance = rng.uniform(8.8, 10.2)
    count = int(rng.choice([1, 2, 3], p=[0.35, 0.4, 0.25]))
    lanes = rng.permutation(LANES) if count > 1 else np.zeros(1)
    across = np.linspace(-0.55, 0.55, count) if count > 1 else np.zeros(1)
    looks = _looks(rng, count, place, held_out)
    traveller = int(rng.integers(count))
    things = tuple(
        _thing(rng, shape, look, camera, (u, lane), distance, i == traveller)
        for i, (look, u, lane) in enumerate(zip(looks, across, lanes))
    )
    occluder = None
    if things[traveller].direction in ACROSS and camera != "pan" and rng.random() < 0.6:
        occluder = _occluder(rng, things[traveller])
    swings = {"still": (0, 0), "orbit": (40, 70), "pan": (12, 18), "dolly": (3.2, 4.6)}
    return Scene(
        things,
        occluder,
        place,
        camera,
        CAMERAS[camera][rng.integers(len(CAMERAS[camera]))],
        rng.uniform(2.6, 4.2),
        distance,
        rng.uniform(*swings[camera]),
        int(rng.integers(2**31)),
    )


def _looks(rng: np.random.Generator, count: int, place: str, held_out: bool) -> list[tuple]:
    """(color, kind) of each object, the colours all different."""
    while True:
        colors = rng.permutation(list(COLORS))[:count].tolist()
        looks = [(color, _choice(rng, KINDS)) for color in colors]
        rare = any(look in HELD_OUT for look in looks)
        if rare == held_out and not any((color, place) in UNSEEN for color in colors):
            return looks


def _thing(rng, shape, look, camera, place, distance, traveller) -> Thing:
    (color, kind), (u, lane) = look, place
    size = _choice(rng, list(SIZES))
    motion = _motion(rng, kind, shape, traveller and camera != "orbit")
    # The width that the picture shows at this depth, a little more of it where it is wide.
    wide = np.tan(np.radians(HALF_FOV)) * (distance + lane)
    wide *= float(np.clip(shape.width / shape.height, 1, 1.5))
    direction, reach = None, np.zeros(3)
    if motion in ("slide", "walk"):
        ways = ACROSS if camera == "dolly" or motion == "walk" else ACROSS + ALONG
        direction = _choice(rng, ways)
        if direction in ACROSS:
            sign = 1 if direction == "right" else -1
            u = -sign * rng.uniform(0.4, 0.6) if u == 0 else -sign * abs(u)
            reach[0] = sign * wide * rng.uniform(0.8, 1.1)
        else:
            reach[1] = rng.uniform(3, 4) * (1 if direction == "away" else -1)
            lane = -reach[1] / 2
    elif motion in ("rise", "sink"):
        reach[2] = rng.uniform(1.6, 2.2)
    elif motion == "bounce":
        reach[2] = rng.uniform(0.9, 1.5)
    elif motion == "circle":
        reach[0] = rng.uniform(0.8, 1.0)
    u = u * (0.6 if camera == "pan" else 1) + rng.uniform(-0.05, 0.05)
    start = np.array([u * wide, lane, reach[2] if motion == "sink" else 0.0])
    if motion == "sink":
        reach = -reach
    turns = {"bounce": rng.uniform(0.9, 1.3), "circle": rng.uniform(0.3, 0.5)}.get(motion, 0)
    return Thing(
        kind,
        color,
        size,
        rng.uniform(*SIZES[size]),
        start,
        _heading(rng, kind, motion, direction),
        motion,
        direction,
        reach,
        max(1.0, turns * duration(shape)),
    )


def _motion(rng: np.random.Generator, kind: str, shape: Shape, traveller: bool) -> str:
    motions = ["still", "rise", "sink"]
    if traveller:
        motions += ["walk"] * 6 if kind == "panda" else ["slide"] * 6
    if kind == "panda":
        motions = [motion for motion in motions if motion not in ("rise", "sink")]
    if duration(shape) >= FULL_SPEED and shape.frames >= 6:
        motions += ["bounce"] * 2 + ["circle"] * 2 * (kind != "panda")
    return _choice(rng, motions)


def _heading(rng: np.random.Generator, kind: str, motion: str, direction: str | None) -> float:
    if motion == "walk":
        return {"left": -90.0, "right": 90.0}[direction]
    return float(rng.uniform(-25, 25) if kind in ("ring", "panda") else rng.uniform(-40, 40))


def _occluder(rng: np.random.Generator, thing: Thing) -> Occluder:
    """Half-way before the path of a thing that goes across."""
    x, y = (thing.start + thing.reach * rng.uniform(0.45, 0.6))[:2]
    middle = (float(x), float(y) - BEHIND)
    if rng.random() < 0.5:
        return Occluder("wall", middle, rng.uniform(2.4, 3.0), rng.uniform(2.0, 2.6), 0.35)
    return Occluder("pillar", middle, rng.uniform(1.2, 1.5), rng.uniform(3.4, 4.2), 1.2)


def _touching(scene: Scene) -> bool:
    """Whether the occluder stands where an object starts."""
    if scene.occluder is None:
        return False
    half = np.array([scene.occluder.width, scene.occluder.depth]) / 2
    return any(
        (abs(thing.start[:2] - scene.occluder.middle) < half + thing.radius * 1.1).all()
        for thing in scene.things
    )


def _moved(thing: Thing, done: np.ndarray, shape: Shape) -> np.ndarray:
    """Way from the start when a part `done` (frames, 1; 0..1) of the clip is over."""
    if thing.motion == "bounce":
        return thing.reach * abs(np.sin(np.pi * thing.turns * done))
    if thing.motion == "circle":
        angle = 2 * np.pi * thing.turns * done
        ways = [np.cos(angle) - 1, np.sin(angle), 0 * angle]
        return thing.reach[0] * np.concatenate(ways, axis=1)
    return thing.reach * done * share(shape)


def _disc(middle: np.ndarray, radius: float, seen: View) -> np.ndarray:
    """Points over what the camera sees of a ball: 37, x y z."""
    forward = middle - seen.position
    right = np.cross(forward, (0, 0, 1))
    right /= np.linalg.norm(right)
    up = np.cross(right, forward)
    up /= np.linalg.norm(up)
    return middle + radius * (_unit_disc() @ np.stack([right, up]))


@functools.cache
def _unit_disc() -> np.ndarray:
    rings = [
        (r * np.cos(a), r * np.sin(a))
        for r, n in ((0.0, 1), (0.3, 6), (0.6, 12), (0.9, 18))
        for a in np.arange(n) * 2 * np.pi / n
    ]
    return np.array(rings)


def _hidden(points, scene: Scene, seen: View, middles: np.ndarray, i: int) -> np.ndarray:
    """Which points lie behind another object or the occluder, as the camera sees them."""
    rays = points - seen.position
    hidden = np.zeros(len(points), bool)
    for j, thing in enumerate(scene.things):
        if j != i:
            along = ((middles[j] - seen.position) * rays).sum(1) / (rays**2).sum(1)
            gap = np.linalg.norm(middles[j] - seen.position - along[:, None] * rays, axis=1)
            hidden |= (along < 1) & (gap < 0.9 * thing.radius)
    if scene.occluder is not None:
        x, y = scene.occluder.middle
        w, h, d = scene.occluder.width, scene.occluder.height, scene.occluder.depth
        low, high = np.array([x - w / 2, y - d / 2, 0]), np.array([x + w / 2, y + d / 2, h])
        with np.errstate(divide="ignore", invalid="ignore"):
            to_low, to_high = (low - seen.position) / rays, (high - seen.position) / rays
        enter = np.minimum(to_low, to_high).max(axis=1)
        leave = np.maximum(to_low, to_high).min(axis=1)
        hidden |= (enter < leave) & (enter > 0) & (enter < 1)
    return hidden


def _turned(point: np.ndarray, degrees: float) -> np.ndarray:
    """Turned about the z axis, counter-clockwise seen from above."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([c * point[0] - s * point[1], s * point[0] + c * point[1], point[2]])


def _choice(rng: np.random.Generator, options) -> str:
    return options[rng.integers(len(options))]
