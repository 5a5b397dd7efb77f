import numpy as np
import pytest

from tools.bench import made_up
from videodit.config import ConfigError
from videodit.data.sources.catalog import FILE, Catalog


def test_the_mixture_is_as_promised(tmp_path, monkeypatch):
    monkeypatch.setattr(made_up, "CHUNK", 1500)
    made_up.write(tmp_path, 4000)
    catalog = Catalog.read(tmp_path)
    assert len(catalog) == 4000 and len(set(catalog.ids)) == 4000
    images = catalog.frames == 1
    assert images.mean() == pytest.approx(made_up.IMAGES, abs=0.03)
    seconds = (catalog.frames / catalog.fps)[~images]
    assert np.median(seconds) == pytest.approx(made_up.SECONDS[0], rel=0.1)
    counts, tokens = catalog.caption_lengths.counts(), catalog.caption_lengths.values
    assert set(counts.tolist()) == {1, 2} and (tokens.min(), tokens.max()) == (20, 200)
    words = [len(text.split()) for texts in catalog.captions for text in texts]
    np.testing.assert_array_equal(words, (tokens / made_up.WORD_TOKENS).astype(int))
    assert not catalog.motion[images].any() and (catalog.motion[~images] > 0).all()
    assert ((catalog.static >= 0) & (catalog.static <= 1)).all()
    assert (catalog.split == "val").mean() == pytest.approx(0.01, abs=0.01)


def test_the_same_seed_gives_the_same_clips(tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        made_up.write(tmp_path / name, 50, seed)
    a, b, c = ((tmp_path / name / FILE).read_bytes() for name in "abc")
    assert a == b != c


def test_no_clips_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="clips=0: expected at least 1"):
        made_up.write(tmp_path, 0)
