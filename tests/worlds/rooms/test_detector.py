import numpy as np
import pytest
from made import made

pytest.importorskip("minigrid")

from videodit.worlds.rooms.world import WORLD
from videodit.worlds.world import Shape


@pytest.mark.parametrize("width, height", [(96, 96), (160, 80), (61, 150)])
def test_all_slots_but_the_mission_are_seen(width, height):
    right = total = 0
    for seed in range(4):
        clip = made("rooms", seed, Shape(width, height, 25, 6.0))
        seen = WORLD.detect(clip.frames, clip.fps)
        shown = {n: v for n, v in clip.slots.items() if n[:2] not in ("m1", "m2", "so")}
        right += sum(name in seen and seen[name].value == v for name, v in shown.items())
        total += len(shown)
    assert right / total > 0.97


def test_noise_takes_confidence():
    clip = made("rooms", 0, Shape(96, 96, 1, 6.0))
    grain = np.random.default_rng(0).normal(0, 40, clip.frames.shape)
    noisy = np.clip(clip.frames + grain, 0, 255).astype(np.uint8)
    clear = WORLD.detect(clip.frames, 6.0)["things"].confidence
    assert WORLD.detect(noisy, 6.0)["things"].confidence < clear <= 1
