"""Random scenes of the stage: objects, how they move, the camera; units are those of space.py.

"seen" clips never show the colours and kinds of HELD_OUT together.
"""

from collections.abc import Sequence

import numpy as np

from videodit.worlds.stage.space import (
    FULL_SPEED,
    HALF_FOV,
    Occluder,
    Scene,
    Thing,
    duration,
    middles_of,
    project,
    share,
    view,
    visible,
)
from videodit.worlds.world import Shape

# RGB, 0 to 1. No value is near 0 or 1, where the renderer's colours overflow at an object's edge.
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
HELD_OUT = frozenset(  # (colour, kind)
    (color, kind)
    for i, color in enumerate(COLORS)
    for j, kind in enumerate(KINDS)
    if (i + j) % len(COLORS) == 5
)
SIZES = {"small": (0.64, 0.72), "large": (0.95, 1.05)}  # smallest and largest radius
# What stands around in each place.
PLACES = {"meadow": "trees", "desert": "rocks", "snowfield": "trees", "plaza": "columns"}
PLACES |= {"moon": "rocks"}
GROUNDS = {  # mean colour of the ground: RGB, 0 to 255
    "meadow": (112, 136, 74),
    "desert": (214, 186, 140),
    "snowfield": (236, 239, 243),
    "plaza": (150, 146, 142),
    "moon": (104, 103, 104),
}
# Objects of these colours are hard to see in these places, and never there.
UNSEEN = {("green", "meadow"), ("green", "snowfield"), ("orange", "desert"), ("yellow", "desert")}
CAMERAS: dict[str, tuple[str | None, ...]] = {  # directions of each motion
    "still": (None,),
    "orbit": ("left", "right"),
    "pan": ("left", "right"),
    "dolly": ("in", "out"),
}
ACROSS, ALONG = ("left", "right"), ("closer", "away")
SWINGS = {  # smallest and largest; degrees of an orbit or pan, metres of a dolly
    "still": (0, 0),
    "orbit": (40, 70),
    "pan": (12, 18),
    "dolly": (3.2, 4.6),
}
LANES = (-2.0, 0.0, 2.0)  # y of the objects, which all stand in different lanes
SEEN_MOTION = 0.25  # a smaller part of a motion is no fact
APART = 0.15  # least distance of neighbours in the first frame, in halves of the shorter side
BEHIND = 1.5  # from the occluder to the object that passes behind it


def draw_scene(rng: np.random.Generator, shape: Shape, held_out: bool) -> Scene:
    """A random scene whose objects are all in sight and apart from each other in the first frame.

    `held_out`: whether one of them has a colour and kind of HELD_OUT, or none.
    """
    while True:
        scene = _random_scene(rng, shape, held_out)
        first, middles = view(scene, shape, 0), middles_of(scene, shape)[0]
        across = project(middles, first, shape)[:, 0]
        seen = [visible(scene, shape, first, middles, i) for i in range(len(scene.things))]
        apart = np.diff(np.sort(across)) * shape.width > APART * min(shape.width, shape.height)
        if min(seen) > 0.9 and apart.all() and not _touching(scene):
            return scene._replace(things=tuple(scene.things[i] for i in np.argsort(across)))


def _random_scene(rng: np.random.Generator, shape: Shape, held_out: bool) -> Scene:
    """A random scene whose objects may hide each other or be outside the picture."""
    place = _choice(rng, list(PLACES))
    camera = _choice(rng, list(CAMERAS))
    if share(shape) < SEEN_MOTION:
        camera = "still"
    distance = rng.uniform(8.8, 10.2)
    things, traveller = _things(rng, shape, place, camera, distance, held_out)
    occluder = None
    if traveller.direction in ACROSS and camera != "pan" and rng.random() < 0.6:
        occluder = _occluder(rng, traveller)
    return Scene(
        things,
        occluder,
        place,
        camera,
        CAMERAS[camera][rng.integers(len(CAMERAS[camera]))],
        rng.uniform(2.6, 4.2),
        distance,
        rng.uniform(*SWINGS[camera]),
        int(rng.integers(2**31)),
    )


def _things(
    rng: np.random.Generator, shape: Shape, place: str, camera: str, distance: float, held_out: bool
) -> tuple[tuple[Thing, ...], Thing]:
    """One to three objects, and the one of them that may travel through the picture."""
    count = int(rng.choice([1, 2, 3], p=[0.35, 0.4, 0.25]))
    lanes = rng.permutation(LANES) if count > 1 else np.zeros(1)
    across = np.linspace(-0.55, 0.55, count) if count > 1 else np.zeros(1)
    looks = _looks(rng, count, place, held_out)
    traveller = int(rng.integers(count))
    things = tuple(
        _thing(rng, shape, look, camera, (u, lane), distance, i == traveller)
        for i, (look, u, lane) in enumerate(zip(looks, across, lanes))
    )
    return things, things[traveller]


def _looks(
    rng: np.random.Generator, count: int, place: str, held_out: bool
) -> list[tuple[str, str]]:
    """(colour, kind) of each object; all colours are different."""
    while True:
        colors = rng.permutation(list(COLORS))[:count].tolist()
        looks = [(color, _choice(rng, KINDS)) for color in colors]
        rare = any(look in HELD_OUT for look in looks)
        if rare == held_out and not any((color, place) in UNSEEN for color in colors):
            return looks


def _thing(
    rng: np.random.Generator,
    shape: Shape,
    look: tuple[str, str],
    camera: str,
    place: tuple[float, float],
    distance: float,
    traveller: bool,
) -> Thing:
    """A random object.

    `place`: across the picture, -1 to 1, and its lane. `traveller`: whether it may cross the
    picture.
    """
    (color, kind), (u, lane) = look, place
    size = _choice(rng, list(SIZES))
    motion = _motion(rng, kind, shape, traveller and camera != "orbit")
    # Half the width of the view at this depth; for wide pictures somewhat more than in square ones.
    wide = np.tan(np.radians(HALF_FOV)) * (distance + lane)
    wide *= float(np.clip(shape.width / shape.height, 1, 1.5))
    direction, reach, u, lane = _way(rng, motion, camera, wide, u, lane)
    u = u * (0.6 if camera == "pan" else 1) + rng.uniform(-0.05, 0.05)
    start = np.array([u * wide, lane, reach[2] if motion == "sink" else 0.0])
    if motion == "sink":
        reach = -reach
    turns = {"bounce": rng.uniform(0.9, 1.3), "circle": rng.uniform(0.3, 0.5)}.get(motion, 0)
    return Thing(
        kind=kind,
        color=color,
        size=size,
        radius=rng.uniform(*SIZES[size]),
        start=start,
        heading=_heading(rng, kind, motion, direction),
        motion=motion,
        direction=direction,
        reach=reach,
        turns=max(1.0, turns * duration(shape)),
    )


def _way(
    rng: np.random.Generator, motion: str, camera: str, wide: float, u: float, lane: float
) -> tuple[str | None, np.ndarray, float, float]:
    """(direction, reach, u, lane) of an object; one that crosses the picture starts at a side.

    `wide`: half the width of the view, in metres. `u`, `lane`: where it would stand without motion.
    """
    reach = np.zeros(3)
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
        return direction, reach, u, lane
    if motion in ("rise", "sink"):
        reach[2] = rng.uniform(1.6, 2.2)
    elif motion == "bounce":
        reach[2] = rng.uniform(0.9, 1.5)
    elif motion == "circle":
        reach[0] = rng.uniform(0.8, 1.0)
    return None, reach, u, lane


def _motion(rng: np.random.Generator, kind: str, shape: Shape, traveller: bool) -> str:
    """A random motion that an object of this kind can have in a clip of this shape."""
    motions = ["still", "rise", "sink"]
    if traveller:
        motions += ["walk"] * 6 if kind == "panda" else ["slide"] * 6
    if kind == "panda":
        motions = [motion for motion in motions if motion not in ("rise", "sink")]
    if duration(shape) >= FULL_SPEED and shape.frames >= 6:
        motions += ["bounce"] * 2 + ["circle"] * 2 * (kind != "panda")
    return _choice(rng, motions)


def _heading(rng: np.random.Generator, kind: str, motion: str, direction: str | None) -> float:
    """A panda that walks looks ahead; other objects face the viewer, about."""
    if motion == "walk":
        return -90.0 if direction == "left" else 90.0
    return float(rng.uniform(-25, 25) if kind in ("ring", "panda") else rng.uniform(-40, 40))


def _occluder(rng: np.random.Generator, thing: Thing) -> Occluder:
    """An occluder in front of the middle of the path of an object that crosses the picture."""
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


def _choice(rng: np.random.Generator, options: Sequence[str]) -> str:
    return options[int(rng.integers(len(options)))]
