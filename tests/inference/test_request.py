"""What can be asked for, and what is refused by the name of its field."""

import numpy as np
import pytest
from packs import tiny_config

from videodit.config import ConfigError, parse_size
from videodit.inference.request import Given, Request, configured_requests

CLIP = np.random.default_rng(0).integers(0, 256, (5, 16, 24, 3), np.uint8)
MASK = np.arange(5) < 3


@pytest.mark.parametrize("field, value", [
    ("prompt", "  "), ("prompt", 3), ("width", 0), ("width", 8.0), ("height", -1), ("frames", 0),
    ("frames", True), ("fps", 0), ("fps", -1.0), ("fps", float("nan")), ("fps", float("inf")),
    ("fps", "12"), ("seed", -1), ("seed", 2**32), ("seed", 0.5), ("given", CLIP),
])  # fmt: skip
def test_a_bad_field_is_named(field, value):
    with pytest.raises(ConfigError, match=f"^{field}="):
        Request(**{"prompt": "a", field: value})


@pytest.mark.parametrize("field, frames, mask", [
    ("given.frames", CLIP.astype(np.float32), MASK), ("given.frames", CLIP[0], MASK),
    ("given.frames", [1], MASK), ("given.frames", CLIP[..., :1], MASK),
    ("given.mask", CLIP, MASK[:3]), ("given.mask", CLIP, MASK.astype(int)),
    ("given.mask", CLIP, None), ("given.mask", CLIP, np.ones((5, 24, 16), bool)),
    ("given.mask", CLIP, np.ones(5, bool)), ("given.mask", CLIP, np.zeros((5, 16, 24), bool)),
])  # fmt: skip
def test_given_arrays_of_another_kind_are_named(field, frames, mask):
    with pytest.raises(ConfigError, match=f"^{field}="):
        Given(frames, mask)


def test_given_frames_must_be_as_large_as_the_clip():
    message = r"given.frames=\(5, 16, 24\): expected .* = \(5, 24, 16\)"
    with pytest.raises(ConfigError, match=message):
        Request("a", 16, 24, 5, given=Given(CLIP, MASK))


@pytest.mark.parametrize("request_, given", [
    (Request.animate("a", CLIP[0], 4, fps=8.0, seed=3), [1, 0, 0, 0]),
    (Request.extend("a", CLIP[:2], 4, fps=8.0, seed=3), [1, 1, 0, 0]),
    (Request.prepend("a", CLIP[:2], 4, fps=8.0, seed=3), [0, 0, 1, 1]),
    (Request.connect("a", CLIP[:1], CLIP[1:2], 4, fps=8.0, seed=3), [1, 0, 0, 1]),
])  # fmt: skip
def test_modes_give_frames_at_the_ends(request_, given):
    shape = request_.frames, request_.height, request_.width, request_.fps, request_.seed
    assert shape == (4, 16, 24, 8.0, 3)
    mask = request_.given.mask
    assert mask.tolist() == [bool(x) for x in given]
    np.testing.assert_array_equal(request_.given.frames[mask], CLIP[: mask.sum()])


def test_inpainting_keeps_the_clip_and_its_mask():
    mask = np.ones(CLIP.shape[:3], bool)
    mask[:, 4:, 8:] = False
    request = Request.inpaint("a", CLIP, mask)
    assert (request.frames, request.height, request.width) == (5, 16, 24)
    assert request.given.frames is CLIP and request.given.mask is mask


@pytest.mark.parametrize("make, field", [
    (lambda: Request.extend("a", CLIP, 5), "frames"),
    (lambda: Request.animate("a", CLIP[0], 1), "frames"),
    (lambda: Request.connect("a", CLIP[:1], CLIP[:1, :8], 9), "last"),
    (lambda: Request.connect("a", CLIP[0], CLIP[1], 9), "first"),
    (lambda: Request.extend("a", [1, 2], 9), "first"),
    (lambda: Request.animate("a", CLIP[0].astype(float), 9), "given.frames"),
    (lambda: Request.animate("a", CLIP[0], 9, fps=0), "fps"),
])  # fmt: skip
def test_modes_refuse_what_cannot_be(make, field):
    with pytest.raises(ConfigError, match=f"^{field}="):
        make()


def test_configured_samples_are_seeded_in_order():
    cfg = tiny_config(sample__prompts=("a", "b"), sample__size="40x24").sample
    found = [(r.prompt, r.width, r.height, r.frames, r.seed) for r in configured_requests(cfg)]
    assert found == [("a", 40, 24, 5, 0), ("b", 40, 24, 5, 1)]


def test_a_size_is_width_times_height():
    assert parse_size("96x64") == (96, 64)
    for wrong in ("64", "0x64", "64x64x1", "²x64"):  # "²" is a digit to str, not to int
        with pytest.raises(ConfigError, match=f"^--size='{wrong}': expected WIDTHxHEIGHT"):
            parse_size(wrong, "--size")
