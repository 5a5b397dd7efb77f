from collections import Counter

import numpy as np
import pytest
from made import made

pytest.importorskip("vizdoom")

from videodit.worlds.grids import resized
from videodit.worlds.maze import detector
from videodit.worlds.maze.game import play, still
from videodit.worlds.maze.scene import THINGS, Scene
from videodit.worlds.maze.world import WORLD


def test_walls_floor_and_motion_are_seen(monkeypatch):
    """Things are left out: the detector draws empty halls for each pair of walls and floor."""
    monkeypatch.setattr(detector, "_things", lambda *_: {})
    right = total = 0
    for seed in range(6):
        clip = made("maze", seed)
        seen = WORLD.detect(clip.frames, clip.fps)
        names = [n for n in clip.slots if n in ("walls", "floor") or n.startswith("e1")]
        right += sum(name in seen and seen[name].value == clip.slots[name] for name in names)
        total += len(names)
    assert right / total > 0.8  # close to a door it is hard


def test_things_are_seen():
    things = [(("blue", "torch"), 360.0, 90.0), (("green", "pillar"), 400.0, -110.0)]
    picture, _ = still("concrete", "grass", things)
    seen = WORLD.detect(resized(picture, 120, 90)[None], 8.0)
    assert {name: d.value for name, d in seen.items() if name[0] == "t"} == {
        "things": "two",
        "t1.color": "blue",
        "t1.kind": "torch",
        "t1.place": "left",
        "t2.color": "green",
        "t2.kind": "pillar",
        "t2.place": "right",
    }


@pytest.mark.parametrize("size", [(120, 90), (40, 32), (36, 48)])
def test_things_are_seen_from_anywhere_and_in_small_pictures(size):
    scene = Scene(
        start=430.0,
        things=[(("red", "pillar"), 640.0, 90.0), (("blue", "torch"), 640.0, -85.0)],
        walls=("concrete", "brick"),
        floors=("grass", "stone"),
        **{"program": "stand", "side": 1, "angle": 0.0, "distance": 0.0, "tics": 0},
    )
    (picture,), _ = play(scene, [0], size[0] / size[1])
    seen = WORLD.detect(resized(picture, *size)[None], 8.0)
    found = {name: d.value for name, d in seen.items() if name[0] == "t"}
    assert found.get("things") == "two", found
    assert [found[f"t{k}.color"] for k in (1, 2)] == ["red", "blue"]
    assert [found[f"t{k}.place"] for k in (1, 2)] == ["left", "right"]


def test_known_things_are_all_of_them():
    known = Counter(name for name, _ in detector._known_things())
    assert set(known) == set(THINGS) and min(known.values()) >= 4


@pytest.mark.parametrize(
    "change, move",
    [
        (lambda x: np.roll(x, 5, axis=1), (1, 0)),
        (lambda x: np.roll(x, -5, axis=1), (-1, 0)),
        (lambda x: detector._zoomed(x, 1.06), (0, 1)),
        (lambda x: detector._zoomed(x, 0.95), (0, -1)),
        (lambda x: x, (0, 0)),
    ],
)
def test_moves(change, move):
    side = detector.SIDE
    coarse = np.random.default_rng(0).uniform(0, 255, (side // 4, side // 4))
    picture = np.kron(coarse, np.ones((4, 4)))
    *seen, sure = detector._move(picture, change(picture))
    assert tuple(seen) == move and 0 < sure <= 1


def test_noise_is_no_error():
    noise = np.random.default_rng(0).integers(0, 256, (3, 32, 40, 3)).astype(np.uint8)
    assert set(WORLD.detect(noise, 8.0)) >= {"walls", "floor", "e1.verb"}
