import hashlib
import json
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from simulators import needs_libx11

from videodit.config import ConfigError
from videodit.worlds.world import Shape

pytest.importorskip("panda3d")
from videodit.worlds.stage import render as stage_render
from videodit.worlds.stage.facts import slots_of, states_of
from videodit.worlds.stage.render import render
from videodit.worlds.stage.scene import CAMERAS, COLORS, draw_scene
from videodit.worlds.stage.space import Occluder, Scene, Thing, positions
from videodit.worlds.stage.world import WORLD

pytestmark = needs_libx11
SHAPE = Shape(96, 64, 5, 4.0)


def digest(seed, shape=SHAPE):
    return hashlib.sha256(WORLD.make(seed, shape).frames).hexdigest()


def test_a_clip_is_a_function_of_its_seed_and_shape():
    first = [digest(seed) for seed in (1, 2, 3)]
    digest(4, Shape(33, 57, 2, 8.0))
    assert [digest(seed) for seed in (3, 2, 1)] == first[::-1]
    assert len(set(first)) == 3
    code = (
        "import hashlib; from videodit.worlds.stage.world import WORLD; "
        "from videodit.worlds.world import Shape; "
        f"print(hashlib.sha256(WORLD.make(2, Shape{tuple(SHAPE)}).frames).hexdigest())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == first[1]


@pytest.mark.parametrize("shape", [Shape(33, 57, 3, 8.0), Shape(96, 32, 1, 24.0)])
@pytest.mark.parametrize("combinations", ["seen", "held_out"])
def test_a_clip_is_whole(shape, combinations):
    clip = WORLD.make(5, shape, combinations)
    assert clip.frames.shape == (shape.frames, shape.height, shape.width, 3)
    assert clip.frames.dtype == np.uint8 and clip.fps == shape.fps
    assert len(clip.states) == shape.frames
    assert json.loads(json.dumps(clip.states)) == clip.states
    for caption in (clip.short, clip.long):
        assert caption.slots.items() <= clip.slots.items()
        assert WORLD.parse(caption.text) == caption.slots


def test_an_unknown_kind_of_combinations_is_refused():
    with pytest.raises(ConfigError, match="combinations"):
        WORLD.make(0, SHAPE, "all")


def test_another_resolution_shows_the_same():
    small = WORLD.make(6, Shape(64, 48, 3, 4.0)).frames
    large = WORLD.make(6, Shape(256, 192, 3, 4.0)).frames
    reduced = large.reshape(3, 48, 4, 64, 4, 3).mean((2, 4))
    assert np.abs(reduced - small).mean() < 6
    others = WORLD.make(7, Shape(64, 48, 3, 4.0)).frames
    assert np.abs(reduced - others).mean() > 20


def middle_of_color(frame, color):
    """The middle of the pixels that have this colour's hue: x and y in -1..1, right and up."""
    rgb = frame / 255.0
    share = np.array(COLORS[color]) / np.linalg.norm(COLORS[color])
    norm = np.linalg.norm(rgb, axis=-1)
    y, x = np.nonzero((rgb @ share > 0.97 * norm) & (norm > 0.2))
    height, width = frame.shape[:2]
    middle = (x.min() + x.max() + 1) / width - 1, 1 - (y.min() + y.max() + 1) / height
    return np.array(middle)


SWINGS = {"still": 0.0, "orbit": 50.0, "pan": 15.0, "dolly": 4.0}


def scene(thing, occluder=None, camera="still"):
    """One object on the moon, where nothing else is coloured."""
    direction = CAMERAS[camera][0]
    return Scene((thing,), occluder, "moon", camera, direction, 3.0, 9.5, SWINGS[camera], seed=0)


@pytest.mark.parametrize("camera", CAMERAS)
def test_objects_are_drawn_where_the_states_say(camera):
    shape = Shape(128, 96, 4, 2.0)
    start, reach = np.array([-1.0, 0.5, 0.0]), np.array([0.0, 0.0, 2.0])
    ball = Thing("ball", "red", "large", 1.0, start, 0.0, "rise", None, reach, 1.0)
    shown = scene(ball, camera=camera)
    for frame, state in zip(render(shown, shape), states_of(shown, shape)):
        found = middle_of_color(frame, "red")
        np.testing.assert_allclose(found, state["a"]["picture"], atol=0.06)


def test_what_passes_behind_a_wall_is_out_of_sight():
    shape = Shape(96, 64, 9, 4.0)
    start, reach = np.array([-2.2, 0.0, 0.0]), np.array([4.4, 0.0, 0.0])
    cube = Thing("cube", "blue", "small", 0.7, start, 0.0, "slide", "right", reach, 1.0)
    shown = scene(cube, Occluder("wall", (0.0, -1.5), 2.7, 2.3, 0.35))
    states = states_of(shown, shape)
    assert slots_of(shown, shape, states)["a.event"] == "passes behind the wall"
    frames, color = render(shown, shape), np.array(COLORS["blue"])
    norms = np.linalg.norm(frames.astype(float), axis=-1)
    area = (frames @ color > 0.97 * np.linalg.norm(color) * norms).sum((1, 2))
    hidden = np.argmin([state["a"]["visible"] for state in states])
    assert 0 < hidden < len(frames) - 1
    assert area[hidden] < 0.1 * area[0]
    assert area[-1] > 0.5 * area[0]


def test_where_the_renderer_cannot_be_loaded_its_library_is_named(monkeypatch):
    no_pipe = SimpleNamespace(make_pipe=lambda *_: None)
    core = SimpleNamespace(
        load_prc_file_data=lambda *_: None,
        GraphicsPipeSelection=SimpleNamespace(get_global_ptr=lambda: no_pipe),
    )
    monkeypatch.setattr(stage_render, "core", core)
    with pytest.raises(ConfigError, match=r"libX11\.so\.6"):
        stage_render._engine.__wrapped__()


def test_things_stand_still_only_if_they_are_said_to():
    shape = Shape(64, 64, 9, 4.0)
    for seed in range(40):
        drawn = draw_scene(np.random.default_rng(seed), shape, False)
        moved = np.ptp(positions(drawn, shape), axis=0).max(-1) > 0.1
        assert moved.tolist() == [thing.motion != "still" for thing in drawn.things]
