import numpy as np
import pytest
from made import made

pytest.importorskip("crafter")

from videodit.worlds.survival.world import WORLD


def test_nearly_all_slots_are_seen():
    right = total = 0
    for seed in range(6):
        clip = made("survival", seed)
        seen = WORLD.detect(clip.frames, clip.fps)
        right += sum(name in seen and seen[name].value == v for name, v in clip.slots.items())
        total += len(clip.slots)
    assert right / total > 0.9


def test_another_picture_gives_other_slots():
    clip = made("survival", 0)
    seen = WORLD.detect(clip.frames, clip.fps)
    swapped = WORLD.detect(np.ascontiguousarray(clip.frames[..., ::-1]), clip.fps)
    assert {n: d.value for n, d in seen.items()} != {n: d.value for n, d in swapped.items()}
    assert all(0 <= d.confidence <= 1 for d in seen.values())


def test_a_sleeper_in_the_dark_shows_nothing_else():
    assert WORLD.detect(np.zeros((2, 96, 128, 3), np.uint8), 6.0) == {}
