"""The facts of a clip of sprites, from its scene: slots, and the states of its frames.

The shapes have the roles a, b and c, in random order; stroke1 and stroke2 are in order of painting.

    count                          one, two or three shapes
    a.color, a.kind                names of COLORS and OUTLINES (drawing.py)
    a.size                         small, medium, large
    a.motion                       still, left, up-right, ..., clockwise, counterclockwise: the
                                   motion at the start
    a.speed                        slow, medium, fast: of shapes that move
    a.event                        bounces off the top edge, collides with b, passes behind b,
                                   leaves at the left, leaves at the left and comes back, enters
                                   from the left
    a.then                         the motion after it bounced, collided or came back
    a.at                           left, center, top right, ...: of shapes that do not move
    stroke1.color, stroke1.line    horizontal, vertical
    stroke1.way                    right, down, ...: the direction in which it grows
    background.color               or .top and .bottom, or .left and .right
    camera                         still
    style                          animation, picture

A clip of one frame has no motion, speed, event, way or camera.
"""

from videodit.worlds.sprites.drawing import Background
from videodit.worlds.sprites.scene import Line, Scene
from videodit.worlds.sprites.space import COUNTS, Actor, place
from videodit.worlds.world import Shape, Slots

SIDES = {"across": ("top", "bottom"), "down": ("left", "right")}


def slots_of(scene: Scene, roles: list[str], shape: Shape) -> Slots:
    """All that the frames show. `roles`: the role of each actor."""
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


def states_of(scene: Scene, roles: list[str], shape: Shape) -> list[dict]:
    """The state of each frame, in pixels: {"a": {"x", "y", "radius"}, ..., "stroke1": {"x", "y"}}.

    Shapes are in order from back to front. A stroke's x and y are where the brush is.
    """
    side = min(shape.width, shape.height)
    states: list[dict] = [{} for _ in range(shape.frames)]
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
