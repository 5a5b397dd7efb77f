import numpy as np
import pytest
from made import SHAPE, made
from scipy import ndimage
from simulators import needs_libx11

from videodit.worlds.stage.detector import _shifts, detect

pytest.importorskip("panda3d")

pytestmark = needs_libx11
UNSEEN = {"occluder", "event"}  # slots that the detector does not speak of


@pytest.mark.parametrize("combinations", ["seen", "held_out"])
def test_most_of_what_true_clips_show_is_seen(combinations):
    right = []
    for seed in range(6):
        clip = made("stage", seed, SHAPE, combinations)
        found = detect(clip.frames, clip.fps)
        slots = {k: v for k, v in clip.slots.items() if k.split(".")[-1] not in UNSEEN}
        right += [name in found and found[name].value == slots[name] for name in slots]
        assert all(0 <= seen.confidence <= 1 for seen in found.values())
    assert len(right) > 50
    assert np.mean(right) > 0.9


def test_a_picture_has_no_motion():
    clip = made("stage", 0, SHAPE._replace(frames=1))
    found = detect(clip.frames, clip.fps)
    assert {"a.color", "a.kind", "a.size", "place", "count"} <= set(found)
    assert not any("motion" in name or "camera" in name for name in found)


@pytest.mark.parametrize("frames", [1, 9])
def test_an_empty_scene_has_no_objects(frames):
    found = detect(np.full((frames, 64, 96, 3), 104, np.uint8), 4.0)
    assert found["count"].value == "none"
    assert found["place"].value == "moon"
    assert not any(name.startswith("a.") for name in found)


@pytest.mark.parametrize("shift", [(0, 3), (-2, 0), (1.5, -2.5)])
def test_shifts_of_a_texture(shift):
    rng = np.random.default_rng(0)
    one = ndimage.gaussian_filter(rng.standard_normal((64, 64)), 2)
    pictures = np.stack([one, ndimage.shift(one, shift, mode="wrap"), one]).astype(np.float32)
    expected = np.array([shift, np.negative(shift)])
    np.testing.assert_allclose(_shifts(pictures), expected, atol=0.35)
