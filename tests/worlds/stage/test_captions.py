import numpy as np
import pytest

from videodit.worlds.stage.captions import read, write
from videodit.worlds.stage.facts import slots_of, states_of
from videodit.worlds.stage.scene import draw_scene
from videodit.worlds.world import Shape

SHAPES = (Shape(96, 64, 9, 4.0), Shape(64, 96, 17, 8.0), Shape(64, 64, 1, 8.0))


def captions(kind, count):
    """(caption, the clip's slots) of clips of several shapes, some of held-out combinations."""
    for seed in range(count):
        rng, shape = np.random.default_rng((1, seed)), SHAPES[seed % len(SHAPES)]
        scene = draw_scene(rng, shape, held_out=seed % 4 == 0)
        slots = slots_of(scene, shape, states_of(scene, shape))
        yield write(kind, slots, rng), slots


@pytest.mark.parametrize("kind", ["short", "long"])
def test_captions_are_true_and_read_back(kind):
    for caption, slots in captions(kind, 120):
        assert caption.slots.items() <= slots.items()
        assert read(caption.text) == caption.slots


def test_long_captions_are_not_alike_and_say_more():
    found = list(captions("long", 150))
    texts = [caption.text for caption, _ in found]
    assert len(set(texts)) == len(texts)
    assert all(text.count(".") >= 2 and text.endswith(".") for text in texts)
    assert all({"a.kind", "a.color", "place"} <= set(caption.slots) for caption, _ in found)
    told = [len(caption.slots) / len(slots) for caption, slots in found]
    assert np.mean(told) > 0.7


def test_pictures_are_not_spoken_of_as_moving():
    moving = ("moves", "video", "clip", "animation", "camera", "rolls", "slides")
    pictures = [c for c, slots in captions("long", 150) if slots["style"] == "picture"]
    assert len(pictures) == 50
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
