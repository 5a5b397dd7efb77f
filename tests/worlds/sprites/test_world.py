import hashlib

import numpy as np
import pytest
from made import made

from videodit.config import ConfigError
from videodit.worlds.sprites.drawing import BACKGROUNDS, COLORS
from videodit.worlds.sprites.scene import HELD_OUT
from videodit.worlds.sprites.world import WORLD
from videodit.worlds.world import COMBINATIONS, Shape, open_world

SHAPES = [
    Shape(32, 32, 1, 24.0),
    Shape(96, 32, 2, 24.0),
    Shape(33, 97, 3, 4.0),
    Shape(64, 48, 9, 8.0),
    Shape(45, 64, 17, 12.5),
    Shape(128, 72, 65, 24.0),
]
SQUARE = Shape(64, 64, 17, 8.0)
# The digest of the frames of five clips, which is the same on Python 3.11 and 3.12.
DIGEST = "517ce54837a84744"


def clips(count, shape=SQUARE, combinations="seen"):
    return [made("sprites", seed, shape, combinations) for seed in range(count)]


def acting(clip, word):
    """Roles of a clip whose event has this word."""
    return [
        name[0]
        for name, value in clip.slots.items()
        if name.endswith(".event") and word in value.split()
    ]


def path(clip, role):
    """Centres (T 2: x, y in pixels) and radius of a shape, from the states."""
    states = [state[role] for state in clip.states]
    return np.array([(state["x"], state["y"]) for state in states]), states[0]["radius"]


@pytest.mark.parametrize("combinations", COMBINATIONS)
@pytest.mark.parametrize("shape", SHAPES)
def test_any_shape_gives_what_was_asked_for(shape, combinations):
    for clip in clips(4, shape, combinations):
        assert clip.frames.shape == (shape.frames, shape.height, shape.width, 3)
        assert clip.frames.dtype == np.uint8 and clip.fps == shape.fps
        assert len(clip.states) == shape.frames
        assert clip.short.slots.items() <= clip.slots.items()
        assert clip.long.slots.items() <= clip.slots.items()


def test_a_clip_is_a_pure_function_of_its_arguments():
    first, again, other = (WORLD.make(seed, SQUARE) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.frames, again.frames)
    assert first[1:] == again[1:]
    assert first.slots != other.slots


def test_frames_are_the_same_on_every_python():
    pixels = b"".join(WORLD.make(seed, SHAPES[4]).frames.tobytes() for seed in range(5))
    assert hashlib.sha256(pixels).hexdigest()[:16] == DIGEST


def test_another_resolution_shows_the_same_scene():
    for seed in range(6):
        small = WORLD.make(seed, Shape(48, 64, 9, 8.0))
        large = WORLD.make(seed, Shape(144, 192, 9, 8.0))
        assert small.slots == large.slots and small.long == large.long
        means = large.frames.reshape(9, 64, 3, 48, 3, 3).mean((2, 4))
        assert np.abs(means - small.frames).mean() < 2


def test_held_out_pairs_are_seen_only_where_they_are_held_out():
    for combinations in COMBINATIONS:
        for clip in clips(40, SHAPES[0], combinations):
            roles = [role for role in "abc" if f"{role}.kind" in clip.slots]
            pairs = {(clip.slots[f"{r}.color"], clip.slots[f"{r}.kind"]) for r in roles}
            assert bool(pairs & HELD_OUT) == (combinations == "held_out")


def test_states_say_where_shapes_are():
    for clip in clips(15, Shape(96, 64, 9, 8.0)):
        front = list(clip.states[0])[len([r for r in "abc" if r in clip.states[0]]) - 1]
        if clip.slots[f"{front}.kind"] == "ring":
            continue
        for frame, (x, y) in zip(clip.frames, path(clip, front)[0]):
            if 2 < x < 94 and 2 < y < 62:
                color = COLORS[clip.slots[f"{front}.color"]]
                np.testing.assert_allclose(frame[int(y), int(x)], color, atol=1)


def test_one_frame_shows_nothing_that_takes_time():
    for clip in clips(40, SHAPES[0]):
        last = {name.split(".")[-1] for name in clip.slots}
        assert not last & {"motion", "speed", "event", "then", "way", "camera"}


def test_what_comes_back_was_wholly_gone():
    found = 0
    for clip in clips(110):
        for role in acting(clip, "back"):
            centres, radius = path(clip, role)
            outside = np.maximum(-centres, centres - 64).max(1)
            assert outside.max() > 0.6 * radius and outside[0] < 0 > outside[-1]
            color = COLORS[clip.slots[f"{role}.color"]]
            shown = (clip.frames == np.array(color)).all(-1).sum((1, 2))
            assert shown[0] > 20 < shown[-1] and shown[outside.argmax()] == 0
            found += 1
    assert found > 5


def test_what_passes_behind_is_hidden_and_what_collides_turns():
    behind = turned = 0
    for clip in clips(110):
        for role in acting(clip, "behind"):
            color = COLORS[clip.slots[f"{role}.color"]]
            shown = (clip.frames == np.array(color)).all(-1).sum((1, 2))
            assert shown.min() < 0.8 * shown[0] and shown[-1] > 0.8 * shown[0]
            behind += 1
        for role in acting(clip, "collides"):
            centres, _ = path(clip, role)
            steps = np.diff(centres, axis=0)
            assert steps[0] @ steps[-1] < 0
            turned += 1
    assert behind > 4 and turned > 8


def test_bounces_touch_the_edge_that_they_name():
    found = 0
    for clip in clips(80):
        for role in acting(clip, "bounces"):
            edge = clip.slots[f"{role}.event"].split()[-2]
            color = np.array(COLORS[clip.slots[f"{role}.color"]])
            near = np.abs(clip.frames.astype(int) - color).max(-1) < 60
            lines = {
                "left": near[:, :, :4],
                "right": near[:, :, -4:],
                "top": near[:, :4],
                "bottom": near[:, -4:],
            }
            assert lines[edge].any()
            found += 1
    assert found > 5


def test_strokes_stay():
    found = 0
    for clip in clips(60):
        if "stroke1.color" in clip.slots:
            color = COLORS[clip.slots["stroke1.color"]]
            painted = (clip.frames == np.array(color)).all(-1)
            assert (painted[1:] | ~painted[:-1]).all()
            assert painted[-1].sum() > 2 * painted[1].sum()
            found += 1
    assert found > 10


def test_a_single_shape_is_alone_on_a_plain_ground():
    kinds, events = set(), 0
    for seed in range(60):
        clip = WORLD.make(seed, SQUARE, "held_out" if seed % 2 else "seen", "one")
        slots = clip.slots
        assert slots["count"] == "one" and "background.color" in slots
        assert not any(name.startswith(("b.", "c.", "stroke")) for name in slots)
        assert ((slots["a.color"], slots["a.kind"]) in HELD_OUT) == (seed % 2 == 1)
        ground = (clip.frames == BACKGROUNDS[slots["background.color"]]).all(-1)
        assert ground.mean() > 0.4
        kinds.add(slots["a.kind"])
        events += "a.event" in slots
    assert len(kinds) > 4 and 5 < events < 40


def test_wrong_arguments_are_refused():
    with pytest.raises(ConfigError, match="combinations='some': expected seen or held_out"):
        WORLD.make(0, SQUARE, "some")
    with pytest.raises(ConfigError, match="scenes='two': expected 'all' or 'one'"):
        WORLD.make(0, SQUARE, scenes="two")
    with pytest.raises(ConfigError, match="world='moon': expected one of sprites"):
        open_world("moon")
    assert open_world("sprites") is WORLD
