"""The world *sprites*: flat shapes of one colour that move, bounce, hide each other, leave and come
back, and strokes that a brush paints. Numpy only.

Slots, for the shapes a, b, c (in no order) and the strokes stroke1, stroke2 (in order of painting):

    count                          one, two, three: shapes
    a.color, a.kind, a.size        COLORS, OUTLINES (sprites_drawing.py), small, medium, large
    a.motion                       still, left, up-right, ..., clockwise, counterclockwise; at first
    a.speed                        slow, medium, fast, of what moves
    a.event                        bounces off the top edge, collides with b, passes behind b,
                                   leaves at the left, leaves at the left and comes
                                   back, enters from the left
    a.then                         the motion after it bounced, collided or came back
    a.at                           left, center, top right, ...: of what does not move
    stroke1.color, stroke1.line    horizontal, vertical
    stroke1.way                    right, down, ...: how it grows
    background.color               or .top and .bottom, or .left and .right
    camera, style                  still (not of one frame); animation, picture

One frame has no motion, speed, event or way.
"""

import numpy as np

from videodit.worlds.sprites import captions as sprites_captions
from videodit.worlds.sprites import detector as sprites_detector
from videodit.worlds.sprites.drawing import Background, Drawn, Stroke, render
from videodit.worlds.sprites.scene import Line, Scene, draw_scene
from videodit.worlds.sprites.space import COUNTS, ROLES, Actor, place
from videodit.worlds.world import (
    COMBINATIONS,
    Clip,
    Detection,
    Shape,
    Slots,
    check_combinations,
)

SIDES = {"across": ("top", "bottom"), "down": ("left", "right")}


class Sprites:
    """Implements `World`."""

    name = "sprites"

    def make(self, seed: int, shape: Shape, combinations: str = "seen") -> Clip:
        check_combinations(combinations)
        rng = np.random.default_rng((seed, COMBINATIONS.index(combinations)))
        scene = draw_scene(rng, shape, combinations == "held_out")
        roles = rng.permutation(list(ROLES[: len(scene.actors)])).tolist()
        if len(roles) == 3 and any("other" in actor.facts for actor in scene.actors):
            roles = [*rng.permutation(list(ROLES[:2])).tolist(), ROLES[2]]
        slots = _slots(scene, roles, shape)
        return Clip(
            frames=_render(scene, shape),
            fps=shape.fps,
            states=_states(scene, roles, shape),
            short=sprites_captions.write("short", slots, rng),
            long=sprites_captions.write("long", slots, rng),
            slots=slots,
        )

    def parse(self, text: str) -> Slots:
        return sprites_captions.read(text)

    def detect(self, frames: np.ndarray, fps: float) -> dict[str, Detection]:
        return sprites_detector.detect(frames, fps)


WORLD = Sprites()


def _slots(scene: Scene, roles: list[str], shape: Shape) -> Slots:
    moving = shape.frames > 1
    slots = {"count": COUNTS[len(scene.actors) - 1], "style": "animation" if moving else "picture"}
    slots |= {"camera": "still"} if moving else {}
    slots |= _background_slots(scene.background)
    for role, actor in sorted(zip(roles, scene.actors), key=lambda pair: pair[0]):
        facts = _actor_slots(actor, roles, shape)
        slots |= {f"{role}.{name}": value for name, value in facts.items()}
    for i, line in enumerate(scene.lines, 1):
        facts = {"color": line.color} | line.facts
        slots |= {f"stroke{i}.{name}": value for name, value in facts.items()}
    return slots


def _background_slots(background: Background) -> Slots:
    names = ("color",) if len(background.colors) == 1 else SIDES[background.way]
    return {f"background.{name}": color for name, color in zip(names, background.colors)}


def _actor_slots(actor: Actor, roles: list[str], shape: Shape) -> Slots:
    facts = {"color": actor.color, "kind": actor.kind, "size": actor.size} | actor.facts
    other = facts.pop("other", None)
    if other is not None:
        facts["event"] += f" {roles[int(other)]}"
    if facts.get("motion", "still") == "still":
        side = min(shape.width, shape.height)
        facts["at"] = place(*(actor.centres[0] * side / (shape.width, shape.height)))
    return facts


def _render(scene: Scene, shape: Shape) -> np.ndarray:
    side = min(shape.width, shape.height)
    strokes = [
        Stroke(line.color, line.half_width * side, tuple(np.multiply(line.start, side)), tips)
        for line, tips in ((line, line.tips * side) for line in scene.lines)
    ]
    sprites = [
        Drawn(actor.kind, actor.color, actor.radius * side, actor.centres * side)
        for actor in scene.actors
    ]
    return render(shape.width, shape.height, scene.background, strokes, sprites)


def _states(scene: Scene, roles: list[str], shape: Shape) -> list[dict]:
    """One a frame, in pixels: centre and radius of the shapes, back to front; tips of strokes."""
    side = min(shape.width, shape.height)
    states = [{} for _ in range(shape.frames)]
    for role, actor in zip(roles, scene.actors):
        radius = round(actor.radius * side, 3)
        for state, (x, y) in zip(states, (actor.centres * side).round(3).tolist()):
            state[role] = {"x": x, "y": y, "radius": radius}
    for i, line in enumerate(scene.lines, 1):
        _add_tips(states, f"stroke{i}", line, side)
    return states


def _add_tips(states: list[dict], name: str, line: Line, side: int) -> None:
    for state, (x, y) in zip(states, (line.tips * side).round(3).tolist()):
        if x == x:  # the stroke has begun
            state[name] = {"x": x, "y": y}
