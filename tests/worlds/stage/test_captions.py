import numpy as np
import pytest

from videodit.worlds.stage.captions import read, write
from videodit.worlds.stage.facts import slots_of, states_of
from videodit.worlds.stage.scene import draw_scene
from videodit.worlds.world import Shape

SHAPES = (Shape(96, 64, 9, 4.0), Shape(64, 96, 17, 8.0), Shape(64, 64, 1, 8.0))


@pytest.fixture(scope="module")
def told():
    """(short caption, long caption, slots) of clips of several shapes, some of them held out."""
    found = []
    for seed in range(90):
        rng, shape = np.random.default_rng((1, seed)), SHAPES[seed % len(SHAPES)]
        scene = draw_scene(rng, shape, held_out=seed % 4 == 0)
        slots = slots_of(scene, shape, states_of(scene, shape))
        found.append((write("short", slots, rng), write("long", slots, rng), slots))
    return found


def test_captions_are_true_and_read_back(told):
    for short, long, slots in told:
        for caption in (short, long):
            assert caption.slots.items() <= slots.items()
            assert read(caption.text) == caption.slots


def test_long_captions_are_not_alike_and_say_more(told):
    texts = [long.text for _, long, _ in told]
    assert len(set(texts)) == len(texts)
    assert all(text.count(".") >= 2 and text.endswith(".") for text in texts)
    assert all({"a.kind", "a.color", "place"} <= set(long.slots) for _, long, _ in told)
    shares = [len(long.slots) / len(slots) for _, long, slots in told]
    assert np.mean(shares) > 0.7


def test_pictures_are_not_spoken_of_as_moving(told):
    moving = ("moves", "video", "clip", "animation", "camera", "rolls", "slides")
    pictures = [long for _, long, slots in told if slots["style"] == "picture"]
    assert len(pictures) == 30
    assert not any(word in caption.text for caption in pictures for word in moving)


def test_a_caption_as_people_type():
    assert read("a small red ball rolls to the left on the moon, camera pans right") == {
        "a.size": "small",
        "a.color": "red",
        "a.kind": "ball",
        "a.motion": "slide",
        "a.direction": "left",
        "place": "moon",
        "camera": "pan",
        "camera.direction": "right",
    }


def test_what_cannot_be_read_is_named():
    with pytest.raises(ValueError, match="sings"):
        read("a red ball sings")
