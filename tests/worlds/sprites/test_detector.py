from collections import Counter

import numpy as np
import pytest
from made import made

from videodit.data.video.files import encode, read_frames
from videodit.worlds.matching import match
from videodit.worlds.sprites.world import WORLD
from videodit.worlds.world import Shape

SHAPES = [
    Shape(32, 32, 1, 8.0),
    Shape(96, 32, 5, 24.0),
    Shape(40, 100, 9, 6.0),
    Shape(64, 64, 17, 12.0),
    Shape(33, 47, 21, 24.0),
    Shape(96, 60, 13, 4.0),
]
SQUARE = Shape(64, 64, 17, 8.0)
MIRRORED = {"left": "right", "right": "left"}


def seen(frames, fps=8.0):
    return {name: found.value for name, found in WORLD.detect(frames, fps).items()}


@pytest.mark.parametrize("stored", [False, True])
def test_nearly_all_slots_are_right(stored):
    right, total = Counter(), Counter()
    for seed in range(10_000, 10_042):
        shape = SHAPES[seed % len(SHAPES)]
        clip = made("sprites", seed, shape, "held_out" if seed % 5 == 0 else "seen")
        frames = read_frames(encode(clip.frames, shape.fps)) if stored else clip.frames
        found = match(clip.slots, WORLD.detect(frames, shape.fps))
        for name in clip.slots.keys() | found.keys():
            kind = name.split(".")[-1]
            total[kind] += 1
            right[kind] += name in found and found[name].value == clip.slots.get(name)
    assert right.total() > 0.98 * total.total()
    assert all(right[kind] > 0.95 * total[kind] for kind in total), total - right


def test_a_mirrored_clip_moves_the_other_way():
    for seed in range(15):
        clip = made("sprites", seed, SQUARE)
        found, mirrored = seen(clip.frames), seen(clip.frames[:, :, ::-1])
        for name in found:
            if name.endswith((".motion", ".then", ".at", ".way", ".event")):
                words = found[name].replace("-", " ").split()
                expected = " ".join(MIRRORED.get(word, word) for word in words)
                if "clockwise" not in expected:
                    assert mirrored[name].replace("-", " ") == expected


def test_time_reversed_turns_leaving_into_entering():
    found = 0
    for seed in range(110):
        clip = made("sprites", seed, SQUARE)
        events = [value for name, value in clip.slots.items() if name.endswith(".event")]
        for event in events:
            if event.startswith("leaves") and not event.endswith("back"):
                expected = event.replace("leaves at", "enters from")
                assert expected in seen(clip.frames[::-1]).values()
                found += 1
    assert found > 1


def test_an_empty_picture_shows_its_background_only():
    frames = np.full((4, 40, 40, 3), 245, np.uint8)
    assert seen(frames) == {"background.color": "white", "style": "animation", "camera": "still"}


def test_noise_is_looked_at_without_error():
    rng = np.random.default_rng(0)
    for frames, height, width in ((1, 1, 1), (2, 5, 60), (20, 33, 33)):
        video = rng.integers(0, 256, (frames, height, width, 3), dtype=np.uint8)
        assert all(0 <= found.confidence <= 1 for found in WORLD.detect(video, 8.0).values())
