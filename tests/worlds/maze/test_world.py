import numpy as np
import pytest
from made import made

pytest.importorskip("vizdoom")

from videodit.worlds.maze.facts import events, facts
from videodit.worlds.maze.game import play
from videodit.worlds.maze.map import LENGTH
from videodit.worlds.maze.scene import HELD_OUT, Scene
from videodit.worlds.maze.world import WORLD


@pytest.fixture(scope="module")
def clips():
    return [made("maze", seed) for seed in range(6)]


def scene(program, tics=70, things=(("red", "torch"), 500.0, 100.0), **more):
    values = {"start": 160.0, "side": 1, "angle": 90.0, "distance": 200.0} | more
    return Scene(
        things=[things] if things else [],
        walls=("brick", "stone"),
        floors=("stone", "grass"),
        program=program,
        tics=tics,
        **values,
    )


TREE = (("brown", "tree"), 500.0, 100.0)  # which, unlike a torch, does not flicker


def state(x=0.0, angle=0.0, door=0.0, things=()):
    return {"x": x, "y": 0.0, "angle": angle, "door": door, "things": list(things)}


def torch(x):
    return {"color": "red", "kind": "torch", "x": x, "height": 0.2}


def test_an_unknown_word_is_named():
    with pytest.raises(ValueError, match="dragon"):
        WORLD.parse("a red dragon in a hall with brick walls")


def test_pairs_are_held_out(clips):
    def pairs(clip):
        return {(one["color"], one["kind"]) for state in clip.states for one in state["things"]}

    assert not any(pairs(clip) & set(HELD_OUT) for clip in clips)
    assert pairs(made("maze", 0, combinations="held_out")) & set(HELD_OUT)


def test_who_looks_away_and_back_sees_the_same():
    pictures, states = play(scene("look away", things=TREE), [0, 35, 70], 4 / 3)
    assert states[1]["angle"] == pytest.approx(270, abs=5) and not states[1]["things"]
    assert states[0] == states[2]
    np.testing.assert_array_equal(pictures[0], pictures[2])


def test_the_door_lets_one_through():
    start = LENGTH - 100.0
    _, states = play(scene("open", 105, things=None, start=start), [0, 35, 105], 4 / 3)
    assert states[0]["door"] == 0 and states[2]["door"] == 1
    assert states[2]["x"] > LENGTH


def test_the_facts_follow_from_the_states():
    seen, away = [torch(0.1)], []
    states = [state(things=seen), state(angle=350, things=away), state(angle=0, things=seen)]
    assert facts(states) == {
        "t1.color": "red",
        "t1.kind": "torch",
        "t1.place": "left",
        "things": "one",
        "e1.verb": "turn",
        "e1.side": "right",
        "e2.verb": "turn",
        "e2.side": "left",
        "lost.color": "red",
        "lost.kind": "torch",
        "lost.back": "yes",
    }
    assert facts(states[:2])["lost.back"] == "no"
    walked = events([state(), state(10), state(20), state(20, door=0.5), state(30, door=1.0)])
    assert [event["verb"] for event in walked] == ["walk", "open", "walk"]
    assert events([state(), state()]) == [{"verb": "stand"}]
    assert events([state(angle=180), state(-9, angle=180)]) == [{"verb": "walk"}]
