import pickle

import numpy as np
import pytest

from videodit.data.sources.source import open_tokenizer
from videodit.data.sources.synthetic import COLORS, SyntheticSource
from videodit.data.video.files import View, whole


@pytest.fixture(scope="module")
def synthetic():
    return SyntheticSource(64)


def all_of(source, i):
    row = source.catalog
    return source.read(i, whole(row.frames[i], row.height[i], row.width[i]))


def test_synthetic_clips_are_what_their_catalog_says(synthetic):
    catalog = synthetic.catalog
    for i in range(len(catalog)):
        clip = all_of(synthetic, i)
        assert clip.dtype == np.uint8
        assert clip.shape == (catalog.frames[i], catalog.height[i], catalog.width[i], 3)
        assert catalog.caption_lengths[i] == (
            len(synthetic.tokenizer.encode(catalog.captions[i][0])),
        )
    assert {1, 5, 9, 17} == set(catalog.frames.tolist())
    assert {8, 12, 24} == set(catalog.fps.tolist())
    for size in (catalog.width, catalog.height):
        assert not (size % 8).any() and size.min() >= 32 and size.max() <= 64
    assert (catalog.split == "val").mean() == 1 / 8


def test_synthetic_captions_are_true(synthetic):
    """The colours named are those seen, and each coloured shape goes where the caption says."""
    steps = {"left": (0, -1), "right": (0, 1), "up": (-1, 0), "down": (1, 0)}
    checked = 0
    for i, (caption,) in enumerate(synthetic.catalog.captions):
        clip = all_of(synthetic, i).astype(int)
        what, background = caption.removesuffix(" background").split(" on a ")
        # The corners of the picture over time: no shape reaches more than one of them at a time.
        corners = clip[:, [0, 0, -1, -1], [0, -1, 0, -1]].reshape(-1, 3)
        assert (np.median(corners, 0) == COLORS[background]).all()
        for part in what.split(" and "):
            color = part.split()[1]
            seen = np.abs(clip - COLORS[color]).max(-1) < 3
            assert seen.any((1, 2)).all(), caption  # in every frame
            if "moves" in part and " and " not in what:
                centres = np.array([np.argwhere(mask).mean(0) for mask in seen])
                motion = centres[-1] - centres[0]
                assert motion @ steps[part.split()[-1]] > 3
                assert abs(motion @ np.array(steps[part.split()[-1]])[::-1]) < 1
                checked += 1
        assert ("moves" in caption) == (len(clip) > 1)
    assert checked > 10


def test_a_synthetic_clip_depends_on_seed_and_index_only(synthetic):
    fewer, other = SyntheticSource(8), SyntheticSource(8, seed=1)
    np.testing.assert_array_equal(all_of(fewer, 5), all_of(synthetic, 5))
    assert list(fewer.catalog.captions) == list(synthetic.catalog.captions)[:8]
    assert list(other.catalog.captions) != list(fewer.catalog.captions)
    copy = pickle.loads(pickle.dumps(fewer))
    np.testing.assert_array_equal(all_of(copy, 3), all_of(synthetic, 3))
    assert open_tokenizer("synthetic").digest == other.tokenizer.digest


def test_a_view_is_part_of_the_clip(synthetic):
    i = int(np.argmax(synthetic.catalog.frames))
    clip = all_of(synthetic, i)
    height, width = clip.shape[1:3]
    part = synthetic.read(i, View(2, 3, 4, height, width))
    np.testing.assert_array_equal(part, clip[2:12:3])
    assert synthetic.read(i, View(0, 1, 2, 24, 24)).shape == (2, 24, 24, 3)


def test_motion_and_static_are_those_of_the_clip(synthetic):
    """Images have none; what moves covers a small part of a plain background."""
    moving = synthetic.catalog.frames > 1
    motion, static = synthetic.catalog.motion, synthetic.catalog.static
    assert not motion[~moving].any() and not static[~moving].any()
    assert (motion[moving] > 0.001).all() and (motion[moving] < 0.2).all()
    assert (static[moving] > 0.2).all() and (static[moving] < 1).all()
