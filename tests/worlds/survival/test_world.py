import itertools

import numpy as np
import pytest
from made import SHAPE, made

pytest.importorskip("crafter")

from opensimplex import OpenSimplex, internals

from videodit.worlds.grids import STEPS_PER_SECOND, heading, steps_shown, walks
from videodit.worlds.survival.facts import facts
from videodit.worlds.survival.game import HELD_OUT
from videodit.worlds.survival.layout import grid_of, item_rows
from videodit.worlds.survival.world import WORLD
from videodit.worlds.world import Shape


@pytest.fixture(scope="module")
def clips():
    return [made("survival", seed) for seed in range(6)]


def state(x=0, y=0, sleeping=False, inventory=(), **done):
    return {"position": [x, y], "sleeping": sleeping, "inventory": dict(inventory), "done": done}


def test_another_size_and_rate_show_the_same(clips):
    other = WORLD.make(1, Shape(SHAPE.width // 2, SHAPE.height // 2, 5, SHAPE.fps / 2))
    assert other.states == clips[1].states[::2]


def test_noise_is_that_of_the_library(monkeypatch):
    noise = OpenSimplex(2**31 - 1)
    points = np.random.default_rng(0).uniform(-40, 40, (300, 3))
    ours = [noise.noise3(*point) for point in points]
    monkeypatch.setattr(internals, "GRADIENTS3", np.array(internals.GRADIENTS3))
    assert ours == [noise.noise3(*point) for point in points]


def test_an_unknown_word_is_named():
    with pytest.raises(ValueError, match="dragon"):
        WORLD.parse("a player walks left, a dragon near by")


def test_pairs_are_held_out(clips):
    for clip in clips:
        assert not {(clip.slots["time"], one["ground"]) for one in clip.states} & set(HELD_OUT)
    held = made("survival", 0, combinations="held_out").slots
    assert (held["time"], held["ground"]) in HELD_OUT


def test_the_facts_follow_from_the_states():
    states = [
        state(),
        state(x=1),
        state(x=2, collect_wood=1),
        state(x=2, collect_wood=2),
        state(x=2, y=-3, collect_wood=2),
        state(x=2, y=-3, collect_wood=2, sleeping=True, inventory={"wood": 2}),
    ]
    assert facts(states) == {
        "e1.verb": "walk",
        "e1.motion": "right",
        "e2.verb": "chop",
        "e2.times": "two",
        "e3.verb": "walk",
        "e3.motion": "up",
        "e4.verb": "sleep",
        "holds.wood": "two",
    }
    assert facts([state(), state()]) == {"e1.verb": "stand"}
    assert facts([state()]) == {}


@pytest.mark.parametrize(
    "x, y, word",
    [(3, 0, "right"), (-3, 1, "left"), (2, -2, "up right"), (-1, 2, "down left"), (0, 0, "")],
)
def test_headings(x, y, word):
    assert heading(x, y) == word


def test_a_way_back_is_a_walk_of_its_own():
    way = [[0, 0], [1, 0], [1, 1], [2, 1], [1, 1], [0, 1]]
    assert [walk["motion"] for walk in walks(way)] == ["down right", "left"]
    assert walks([[3, 3], [3, 3]]) == []


def test_frames_show_the_step_of_their_time():
    assert steps_shown(Shape(8, 8, 4, STEPS_PER_SECOND)) == [0, 1, 2, 3]
    assert steps_shown(Shape(8, 8, 5, 2 * STEPS_PER_SECOND)) == [0, 0, 1, 1, 2]


def test_tiles_are_nearly_square():
    for width, height in itertools.product((32, 64, 96), repeat=2):
        columns, rows = grid_of(width, height)
        assert abs(np.log(width / columns / (height / rows))) < 0.16, (width, height)
        assert rows > item_rows(columns)
