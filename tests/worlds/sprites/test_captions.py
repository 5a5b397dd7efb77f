import re

import numpy as np
import pytest
from made import made

from videodit.worlds.sprites.world import WORLD
from videodit.worlds.world import Shape


@pytest.fixture(scope="module")
def clips():
    """Clips that are made quickly, some of one frame."""
    shapes = [Shape(32, 32, 9, 8.0), Shape(48, 32, 9, 8.0), Shape(32, 32, 1, 8.0)]
    return [made("sprites", seed, shapes[seed % 3]) for seed in range(240)]


def test_captions_parse_back(clips):
    for clip in clips[:120]:
        assert WORLD.parse(clip.short.text) == clip.short.slots
        assert WORLD.parse(clip.long.text) == clip.long.slots


@pytest.mark.slow
def test_a_thousand_long_captions_are_not_alike():
    shape = Shape(32, 32, 9, 8.0)
    assert len({WORLD.make(seed, shape).long.text for seed in range(1000)}) == 1000


@pytest.mark.slow
def test_ten_thousand_captions_parse_back():
    rng = np.random.default_rng(0)
    for seed in range(5000):
        frames = int(rng.choice([1, 2, 5, 9, 17, 33]))
        clip = WORLD.make(seed, Shape(*rng.integers(32, 65, 2).tolist(), frames, 8.0))
        assert WORLD.parse(clip.short.text) == clip.short.slots
        assert WORLD.parse(clip.long.text) == clip.long.slots


def test_no_two_long_captions_are_alike(clips):
    assert len({clip.long.text for clip in clips}) == len(clips)


def test_long_captions_name_every_shape_and_what_it_does(clips):
    for clip in clips:
        for role in "abc":
            told = {f"{role}.{name}" for name in ("color", "kind", "motion", "event")}
            told |= {f"{role}.at"} if clip.slots["style"] == "picture" else set()
            assert told & clip.slots.keys() <= clip.long.slots.keys()


def test_captions_are_english(clips):
    for clip in clips:
        short, long = clip.short.text, clip.long.text
        assert short == short.lower() and short[-1].isalpha()
        assert long.endswith(".") and len(re.findall(r"\. ", long)) >= 1
        assert all(sentence[0].isupper() for sentence in re.split(r"(?<=[.]) ", long))
        for text in (short, long.lower()):
            assert not re.search(r"\ba [aeio]|\ban [^aeio]|  | [.,;:]|\b(\w+) \1\b", text), text


def test_a_caption_from_elsewhere_is_read():
    assert WORLD.parse("a red circle moves slowly left on white") == {
        "a.color": "red",
        "a.kind": "circle",
        "a.motion": "left",
        "a.speed": "slow",
        "background.color": "white",
    }


def test_what_cannot_be_read_is_named():
    with pytest.raises(ValueError, match="cannot read 'jumps left'"):
        WORLD.parse("a red circle jumps left")
