import numpy as np
import pytest

from tools.bench import plan as bench_plan
from videodit.data import patches


def tokens_of(sizes):
    return np.prod(patches.grid(*sizes.T, bench_plan.PATCH), 0)


def test_the_mixture_is_the_one_described():
    tokens, image = bench_plan.lengths(50_000, np.random.default_rng(0))
    assert image.mean() == pytest.approx(0.3, abs=0.01)
    assert set(tokens[image].tolist()) == {64, 144, 256, 576, 1024}
    assert np.median(tokens[~image]) == pytest.approx(1500, rel=0.03)
    assert tokens.min() >= 64 and tokens.max() == 16384


def test_clips_with_sizes_have_about_as_many_tokens():
    rng = np.random.default_rng(0)
    tokens, image = bench_plan.lengths(5000, rng)
    sizes = bench_plan.sizes(tokens, image, rng)
    made = tokens_of(sizes)
    assert (made <= tokens).all() and made.sum() > 0.85 * tokens.sum()
    frames, height, width = sizes.T
    assert (frames[image] == 1).all() and frames.max() <= 241 and min(height.min(), width.min()) > 0
    aspect = width / height
    assert np.median(aspect) == pytest.approx(1, abs=0.15) and aspect.max() > 2.5


def test_padding_is_counted_as_computed_and_not_as_useful():
    tokens = np.array([4] * 7 + [8] + [16] * 8 + [999])  # the last makes no batch of 8
    longest = bench_plan.padded_to_longest(tokens)
    assert longest.useful == pytest.approx((7 * 4 + 8 + 8 * 16) / (8 * 8 + 8 * 16))
    assert longest.shapes == 2
    powers = bench_plan.padded_to_powers(np.array([3, 4, 5, 16]))
    assert powers.useful == pytest.approx(28 / (4 + 4 + 8 + 16)) and powers.shapes == 3


def bucketed(table, *sizes):
    return bench_plan.bucketed("", table, *np.array(sizes).T)


def test_clips_are_cut_down_to_the_bucket_below():
    table = {128 * 128: (1, 33), 256 * 256: (1, 65)}  # 16 and 64 tokens a latent frame
    one = bucketed(table, (40, 256, 256))  # too short for 65 frames: 9 of 11 latent frames
    assert (one.useful, one.used, one.shapes) == (1, 1, 1)
    assert one.kept == pytest.approx(9 * 16 / (11 * 64))
    image = bucketed(table, (1, 384, 384))
    assert image.kept == pytest.approx(64 / 144)
    both = bucketed(table, (40, 256, 256), (1, 384, 384))
    assert both.kept == pytest.approx((9 * 16 + 64) / (11 * 64 + 144)) and both.shapes == 2


def test_clips_below_every_bucket_are_lost_and_enlarged_ones_gain_nothing():
    table = {256 * 256: (1,)}
    lost = bucketed(table, (1, 256, 256), (1, 64, 64), (9, 256, 256))
    assert lost.used == pytest.approx(1 / 3) and lost.kept == pytest.approx(64 / (64 + 4 + 3 * 64))
    enlarged = bucketed(table, (1, 256, 224))  # 8 x 7 patches, over 0.8 of the area
    assert enlarged.used == 1 and enlarged.kept == 1
    assert enlarged.useful == pytest.approx(56 / 64)


def test_every_scheme_sees_the_same_clips():
    schemes = bench_plan.compare(3000)
    assert [s.kept for s in schemes[:3]] == [1, 1, 1] and schemes[0].useful > 0.98
    assert all(0 < s.kept < 1 and 0 < s.used < 1 and s.shapes > 20 for s in schemes[3:])


def test_the_lines_of_the_report_state_fill_and_the_chosen_text_tokens():
    rng = np.random.default_rng(0)
    tokens, _ = bench_plan.lengths(4000, rng)
    one = np.ones_like(tokens)
    catalog = bench_plan.catalog_of(one, one, tokens, rng.integers(20, 201, 4000))
    rows, fill, text_tokens, *_ = bench_plan.bench(catalog, 64, 0).split()
    assert rows == "64" and 98 < float(fill.rstrip("%")) <= 100
    assert int(text_tokens) % 128 == 0 and int(text_tokens) >= 256
