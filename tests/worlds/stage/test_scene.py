import numpy as np
import pytest

from videodit.worlds.stage.facts import slots_of, states_of
from videodit.worlds.stage.scene import COLORS, HELD_OUT, KINDS, draw_scene
from videodit.worlds.stage.space import View, project
from videodit.worlds.world import Shape

SHAPE = Shape(96, 64, 9, 4.0)


def scenes(count, shape=SHAPE, held_out=False):
    return [draw_scene(np.random.default_rng(seed), shape, held_out) for seed in range(count)]


def looks(scene):
    return {(thing.color, thing.kind) for thing in scene.things}


def test_held_out_pairs_are_never_seen_and_their_parts_are():
    seen = set.union(*map(looks, scenes(120)))
    assert not seen & HELD_OUT
    assert {color for color, _ in seen} == set(COLORS)
    assert {kind for _, kind in seen} == set(KINDS)
    assert all(looks(scene) & HELD_OUT for scene in scenes(30, held_out=True))


def test_a_scene_does_not_depend_on_the_resolution():
    small, large = scenes(8), scenes(8, Shape(384, 256, 9, 4.0))
    for one, other in zip(small, large):
        assert looks(one) == looks(other) and one.camera == other.camera
        states = states_of(one, SHAPE), states_of(other, Shape(384, 256, 9, 4.0))
        assert states[0] == states[1]


def test_projection():
    shape = Shape(200, 100, 1, 8.0)
    seen = View(np.array([0.0, -10.0, 1.0]), np.array([0.0, 0.0, 1.0]))
    # The half angle of the shorter side is 20 degrees: 3.6397 m up at 10 m.
    points = np.array([[0, 0, 1], [0, 0, 1 + 3.6397], [2 * 3.6397, 0, 1], [0, 10, 1]])
    expected = [[0, 0, 10], [0, 1, 10], [1, 0, 10], [0, 0, 20]]
    np.testing.assert_allclose(project(points, seen, shape), expected, atol=1e-4)


def facts(count, shape):
    for scene in scenes(count, shape):
        states = states_of(scene, shape)
        yield scene, states, slots_of(scene, shape, states)


def test_short_clips_and_images_claim_no_motion():
    for shape in (Shape(64, 64, 1, 8.0), Shape(64, 64, 5, 24.0)):
        for _, _, slots in facts(25, shape):
            assert not {name for name in slots if "motion" in name or "camera" in name}


def test_facts_hold_in_the_states():
    ways = {"left": (0, -1), "right": (0, 1), "closer": (1, -1), "away": (1, 1)}
    counts = dict.fromkeys(["direction", "side", "passes", "rise"], 0)
    for _, states, slots in facts(100, SHAPE):
        assert all(states[0][letter]["visible"] > 0.9 for letter in "abc" if letter in states[0])
        for name, value in slots.items():
            letter, _, what = name.partition(".")
            track = [state[letter] for state in states] if letter in "abc" else []
            if what == "direction" and track:
                axis, sign = ways[value]
                steps = np.diff([at["position"][axis] for at in track])
                assert (sign * steps > 0).all()
            elif what == "side":
                other = value[-1]
                pairs = [(s[letter]["picture"][0], s[other]["picture"][0]) for s in states]
                assert all(one > two for one, two in pairs)
            elif what == "event":
                assert min(at["visible"] for at in track) < 0.4
                what = value.split()[0]
                assert what == "goes" or max(at["visible"] for at in track[1:]) > 0.8
            elif what == "motion" and value == "rise":
                assert track[-1]["position"][2] - track[0]["position"][2] > 0.3
                what = "rise"
            counts[what] = counts.get(what, 0) + 1
    assert all(counts.values()), counts


@pytest.mark.parametrize("width, height", [(32, 96), (96, 32), (33, 57)])
def test_any_aspect_shows_all_objects(width, height):
    shape = Shape(width, height, 5, 4.0)
    for _, states, _ in facts(15, shape):
        for letter in set(states[0]) & set("abc"):
            assert np.abs(states[0][letter]["picture"]).max() < 1
