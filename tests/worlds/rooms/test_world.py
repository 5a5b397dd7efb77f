import numpy as np
import pytest
from made import made

pytest.importorskip("minigrid")

from videodit.worlds.rooms.facts import facts
from videodit.worlds.rooms.game import HELD_OUT
from videodit.worlds.rooms.layout import WALL, fitted, layout_of
from videodit.worlds.rooms.world import WORLD
from videodit.worlds.world import Shape

SHAPE = Shape(width=128, height=96, frames=25, fps=8)


@pytest.fixture(scope="module")
def clips():
    shapes = (SHAPE, Shape(128, 64, 33, 6.0), Shape(32, 96, 1, 4.0))
    return [made("rooms", seed, shapes[seed % 3]) for seed in range(15)]


def state(position=(3, 3), facing="right", objects=(), carries=None):
    return {
        "grid": [9, 9],
        "position": list(position),
        "facing": facing,
        "objects": list(objects),
        "carries": carries,
    }


def thing(color, kind, x, y, **more):
    return {"color": color, "kind": kind, "tile": [x, y], **more}


def test_another_size_shows_the_same(clips):
    other = WORLD.make(0, Shape(256, 192, 25, 8))
    assert other.states == clips[0].states and other.long == clips[0].long


def test_an_unknown_word_is_named():
    with pytest.raises(ValueError, match="dragon"):
        WORLD.parse("red arrow picks up the red dragon")


def test_pairs_are_held_out(clips):
    def pairs(clip):
        return {(one["color"], one["kind"]) for one in clip.states[0]["objects"]}

    assert not any(pairs(clip) & set(HELD_OUT) for clip in clips)
    assert all(pairs(WORLD.make(s, SHAPE, "held_out")) & set(HELD_OUT) for s in range(4))


def test_missions_are_solved(clips):
    solved = [clip.slots["solved"] for clip in clips if len(clip.frames) > 1]
    assert solved.count("yes") > len(solved) / 2


def test_the_facts_follow_from_the_states():
    key, box = thing("blue", "key", 6, 3), thing("red", "box", 1, 8)
    door = thing("green", "door", 8, 2, state="closed")
    states = [
        state((3, 3), objects=[door, key, box]),
        state((4, 3), objects=[door, key, box]),
        state((4, 3), objects=[door, box], carries={"color": "blue", "kind": "key"}),
        state((7, 2), objects=[door, box], carries={"color": "blue", "kind": "key"}),
        state((7, 2), objects=[door | {"state": "open"}, box], carries=None),
    ]
    slots = facts(states)
    assert slots["rooms"] == slots["things"] == "two"
    assert slots["agent.place"] == "middle" and slots["o2.place"] == "bottom left"
    assert (slots["o1.color"], slots["o1.kind"], slots["o1.place"]) == ("blue", "key", "right")
    assert (slots["f.color"], slots["f.kind"]) == ("green", "door")
    verbs = [slots[f"e{k}.verb"] for k in range(1, 6)]
    assert verbs == ["walk", "take", "walk", "drop", "open"]
    assert slots["e3.motion"] == "right" and slots["e2.color"] == "blue"


def test_standing_and_turning_are_told_apart():
    assert facts([state(), state()])["e1.verb"] == "stand"
    assert facts([state(), state(facing="up"), state()])["e1.verb"] == "turn"


def test_rooms_follow_the_aspect():
    assert layout_of(64, 64) == (1, 1)
    assert layout_of(128, 64) == (2, 1) and layout_of(32, 96) == (1, 3)


def test_tiles_stay_square_between_walls():
    picture = np.zeros((32, 32, 3), np.uint8)
    frame = fitted(picture, 64, 32)
    assert (frame[:, :16] == WALL).all() and (frame[:, 48:] == WALL).all()
    assert not frame[:, 16:48].any()
