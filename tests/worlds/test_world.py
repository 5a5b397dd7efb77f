"""What every world promises."""

import ast
import importlib
import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest
from made import SHAPE, made
from simulators import has_libx11

from videodit import worlds
from videodit.config import ConfigError
from videodit.worlds.world import WORLDS, Shape, open_world

SIMULATORS = {"stage": "panda3d", "survival": "crafter", "maze": "vizdoom", "rooms": "minigrid"}
TIME = re.compile(
    r"\b(clip|video|animation|first frame|at first|begins|starts|at last|end|follows|stays)\b", re.I
)


def is_there(name):
    simulator = SIMULATORS.get(name)
    there = simulator is None or importlib.util.find_spec(simulator)
    return there and (name != "stage" or has_libx11())


@pytest.fixture(scope="module", params=WORLDS)
def world(request):
    if not is_there(request.param):
        pytest.skip(f"the simulator of {request.param} is absent")
    return open_world(request.param)


@pytest.fixture(scope="module")
def clips(world):
    return [made(world.name, seed) for seed in range(6)]


def test_equal_seeds_make_equal_clips(world, clips):
    again = world.make(2, SHAPE)
    np.testing.assert_array_equal(again.frames, clips[2].frames)
    assert again[1:] == clips[2][1:]
    assert clips[3].states != clips[2].states


@pytest.mark.parametrize("shape", [SHAPE, Shape(96, 32, 1, 24.0), Shape(33, 97, 2, 8.0)])
def test_clips_have_the_asked_shape(world, shape):
    clip = made(world.name, 1, shape)
    assert clip.frames.shape == (shape.frames, shape.height, shape.width, 3)
    assert clip.frames.dtype == np.uint8 and clip.fps == shape.fps
    assert len(clip.states) == shape.frames


def test_captions_claim_what_is_true_and_read_back(world, clips):
    for clip in clips:
        for caption in (clip.short, clip.long):
            assert caption.slots.items() <= clip.slots.items()
            assert world.parse(caption.text) == caption.slots
    assert len({clip.long.text for clip in clips}) == len(clips)


def test_captions_of_pictures_speak_of_no_time(world):
    """One clip's facts, written many times: "nothing moves" is allowed, "clip" is not."""
    captions = importlib.import_module(f"videodit.worlds.{world.name}.captions")
    slots = made(world.name, 0, SHAPE._replace(frames=1)).slots
    for seed in range(60):
        rng = np.random.default_rng(seed)
        for kind in ("short", "long"):
            text = captions.write(kind, slots, rng).text
            assert not TIME.search(text), text


def test_what_is_detected_has_a_confidence(world, clips):
    for detection in world.detect(clips[0].frames, SHAPE.fps).values():
        assert isinstance(detection.value, str) and 0 <= detection.confidence <= 1


def imported(text, name):
    """The files of a world that a file with this text imports."""
    froms = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ImportFrom)]
    names = [f"{node.module}.{alias.name}" for node in froms for alias in node.names]
    start = f"videodit.worlds.{name}."
    return {one.removeprefix(start).split(".")[0] for one in names if one.startswith(start)}


@pytest.mark.parametrize("name", WORLDS)
def test_a_world_has_the_files_that_the_package_lists(name):
    """And only its world.py, which nothing else imports, imports its detector."""
    folder = Path(worlds.__file__).parent / name
    texts = {file.stem: file.read_text() for file in folder.glob("*.py")}
    assert texts.keys() >= {"__init__", "world", "facts", "captions", "detector"}
    assert texts.keys() & {"scene", "game"}
    parts = {stem: imported(text, name) for stem, text in texts.items()}
    assert [stem for stem in parts if "detector" in parts[stem]] == ["world"]
    assert not [stem for stem in parts if "world" in parts[stem]]


def test_a_missing_simulator_is_named(monkeypatch):
    load = importlib.import_module

    def missing(name, *args):
        if name.endswith(".rooms.world"):
            raise ImportError("No module named 'minigrid'")
        return load(name, *args)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(ConfigError, match=r"-e '.\[worlds\]'"):
        open_world("rooms")


def test_an_unknown_world_is_named():
    with pytest.raises(ConfigError, match=r"roms.*rooms"):
        open_world("roms")
