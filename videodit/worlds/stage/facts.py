"""The facts of a clip of the stage, from its scene: the states of its frames, and slots."""

import itertools

import numpy as np

from videodit.worlds.stage.scene import PLACES, SEEN_MOTION
from videodit.worlds.stage.space import (
    Scene,
    View,
    half_extents,
    middles_of,
    project,
    share,
    view,
    visible,
)
from videodit.worlds.world import Shape, Slots

LETTERS = "abc"  # names of the objects, from left to right in the first frame
IN_SIGHT = 0.5  # least visible share, averaged over time, of an object whose motion is a fact
HIDDEN, CLEAR = 0.4, 0.8  # visible shares: less is behind the occluder, more is beside it


def states_of(scene: Scene, shape: Shape) -> list[dict]:
    """The state of each frame: its time, the camera's pose, where and how visible objects are."""
    middles = middles_of(scene, shape)
    return [_state(scene, shape, frame, middles[frame]) for frame in range(shape.frames)]


def _state(scene: Scene, shape: Shape, frame: int, middles: np.ndarray) -> dict:
    """Metres and seconds. "picture": x to the right and y up, -1 to 1; "depth": along the view."""
    seen = view(scene, shape, frame)
    flat = project(middles, seen, shape)
    things = {
        letter: {
            "position": middle.round(4).tolist(),
            "picture": at[:2].round(4).tolist(),
            "depth": round(float(at[2]), 4),
            "visible": round(visible(scene, shape, seen, middles, i), 3),
        }
        for i, (letter, middle, at) in enumerate(zip(LETTERS, middles, flat))
    }
    return {"time": round(frame / shape.fps, 4), "camera": _pose(seen, shape), **things}


def _pose(seen: View, shape: Shape) -> dict:
    """Where the camera is, what it looks at, and the tangents of half its angles of view."""
    wide, high = half_extents(shape)
    return {
        "position": seen.position.round(4).tolist(),
        "target": seen.target.round(4).tolist(),
        "tangents": [round(float(wide), 5), round(float(high), 5)],
    }


def slots_of(scene: Scene, shape: Shape, states: list[dict]) -> Slots:
    """All that the frames show."""
    slots = {"place": scene.place, "props": PLACES[scene.place]}
    slots["style"] = "animation" if shape.frames > 1 else "picture"
    slots["count"] = ("one", "two", "three")[len(scene.things) - 1]
    moving = share(shape) >= SEEN_MOTION
    for letter, thing in zip(LETTERS, scene.things):
        slots |= {f"{letter}.{name}": getattr(thing, name) for name in ("kind", "color", "size")}
        in_sight = np.mean([state[letter]["visible"] for state in states]) >= IN_SIGHT
        if moving and in_sight:
            slots |= {f"{letter}.motion": thing.motion}
            slots |= {f"{letter}.direction": thing.direction} if thing.direction else {}
    if moving:
        slots["camera"] = scene.camera
        if scene.camera_direction:
            slots["camera.direction"] = scene.camera_direction
    return slots | _sides(states) | _occlusion(scene, states)


def _sides(states: list[dict]) -> Slots:
    """Whether each object stays to the right of its left-hand neighbour all the time."""
    found = {}
    for one, other in itertools.pairwise(LETTERS):
        if other in states[0]:
            gaps = [state[other]["picture"][0] - state[one]["picture"][0] for state in states]
            if min(gaps) > 0.05:
                found[f"{other}.side"] = f"right of {one}"
    return found


def _occlusion(scene: Scene, states: list[dict]) -> Slots:
    """The occluder, and which objects pass behind it, or go there and stay."""
    if scene.occluder is None:
        return {}
    slots = {"occluder": scene.occluder.kind}
    for letter, thing in zip(LETTERS, scene.things):
        seen = np.array([state[letter]["visible"] for state in states])
        behind = f"behind the {scene.occluder.kind}"
        if thing.direction in ("left", "right") and seen.min() < HIDDEN:
            out = seen[seen.argmin() :].max() > CLEAR
            slots[f"{letter}.event"] = f"{'passes' if out else 'goes'} {behind}"
    return slots
