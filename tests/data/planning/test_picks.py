import numpy as np
import pytest
from clips import made_up
from scipy import stats

from videodit.config import ConfigError, DataConfig, ViewConfig
from videodit.data.planning.picks import Picker, stages

PATCH = (4, 8, 8)


def picker(catalog, seed=0, row_tokens=4096, **views):
    cfg = DataConfig(row_tokens=row_tokens, views=ViewConfig(**views))
    return Picker(catalog, cfg, seed, PATCH)


def films(count=400, seed=0):
    """Films of 60 to 200 frames at 24 or 30 frames a second, and every fifth an image."""
    rng = np.random.default_rng(seed)
    frames = np.where(np.arange(count) % 5, rng.integers(60, 200, count), 1)
    return made_up(
        count,
        width=rng.integers(64, 400, count).astype(np.int32),
        height=rng.integers(64, 400, count).astype(np.int32),
        frames=frames.astype(np.int32),
        fps=rng.choice([24, 30], count).astype(np.float32),
        static=np.full(count, 0.25, np.float32),
    )


def everything(pick, step=0):
    """Picks of all clips of a picker's catalog, ten of each."""
    numbers = np.arange(10 * len(pick.catalog))
    return pick(numbers % len(pick.catalog), numbers, step)


def test_without_schedules_a_clip_is_seen_whole():
    clips = films()
    picks = everything(picker(clips, row_tokens=2**20))
    for name in ("frames", "height", "width"):
        np.testing.assert_array_equal(getattr(picks, name), getattr(clips, name)[picks.clip])
    assert not picks.start.any() and (picks.stride == 1).all()
    np.testing.assert_array_equal(picks.keep, picks.tokens)


def test_sides_are_uniform_keep_the_aspect_and_never_enlarge():
    clips = films(2000)
    picks = everything(picker(clips, row_tokens=2**20, sides=((0, 96, 160),)))
    width, height = clips.width[picks.clip], clips.height[picks.clip]
    assert (picks.width <= width).all() and (picks.height <= height).all()
    shrunk = (picks.width < width) | (picks.height < height)
    assert not (picks.width[shrunk] % 8).any() and not (picks.height[shrunk] % 8).any()
    # Each side is rounded by less than a patch.
    w, h, aspect = (x[shrunk] for x in (picks.width, picks.height, width / height))
    assert ((w - 8) / (h + 8) < aspect).all() and (aspect < (w + 8) / (h - 8)).all()
    large = np.sqrt(width * height) > 200
    side = np.sqrt(picks.width * picks.height)[large]
    assert stats.kstest((side - 96) / 64, "uniform").statistic < 0.04
    small = np.sqrt(width * height) < 96
    assert small.any() and not shrunk[small].any()


def test_seconds_and_rates_take_a_part_of_the_film_and_leave_frames_out():
    clips = films()
    pick = picker(clips, row_tokens=2**20, seconds=((0, 0.5, 2),), rates=((0, 8, 24),))
    picks = everything(pick)
    length, fps = clips.frames[picks.clip], clips.fps[picks.clip]
    moving = length > 1
    last = picks.start + (picks.frames - 1) * picks.stride
    assert (picks.start >= 0).all() and (last < length).all()
    assert set(picks.stride[moving & (fps == 24)]) == {1, 3}
    assert set(picks.stride[moving & (fps == 30)]) == {1, 4}
    assert (picks.stride[~moving] == 1).all() and (picks.frames % 4 == 1).all()
    seconds = (picks.frames * picks.stride / fps)[moving]
    assert seconds.min() > 0.5 - 0.3 and seconds.max() < 2 + 0.3
    assert seconds.mean() == pytest.approx(1.25, abs=0.05)
    choices = length - (picks.frames - 1) * picks.stride
    assert stats.kstest(((picks.start + 0.5) / choices)[moving], "uniform").statistic < 0.03


def test_a_part_is_never_longer_than_a_row():
    picks = everything(picker(films(), row_tokens=2600, seconds=((0, 1, 10),)))
    assert picks.tokens.max() <= 2600
    with pytest.raises(ConfigError, match=r"row_tokens=600: clip clip\d+ .* data.views.sides"):
        picker(films(), row_tokens=600, seconds=((0, 1, 10),))
    assert (
        everything(
            picker(films(), row_tokens=600, seconds=((0, 1, 10),), sides=((0, 64, 128),))
        ).tokens.max()
        <= 600
    )


def test_dropping_follows_a_beta_distribution_and_the_static_share():
    pick = picker(films(), row_tokens=2**20, drop=((0, 0.8, 2.0, 3.0),))
    picks = everything(pick)
    rates = 1 - picks.keep / picks.tokens
    assert stats.kstest(rates / 0.8, stats.beta(2, 3).cdf).statistic < 0.03
    assert not picks.drop_static.any()
    picks = everything(picker(films(), row_tokens=2**20, drop_static=((0, 0.5),)))
    t, area = -(-(picks.frames - 1) // 4), -(-picks.height // 8) * -(-picks.width // 8)
    np.testing.assert_array_equal(picks.drop_static, (0.5 * 0.25 * t * area).astype(int))
    np.testing.assert_array_equal(picks.keep, picks.tokens - picks.drop_static)


def test_a_share_of_the_picks_is_mirrored_and_another_reversed_and_no_held_out_clip():
    pick = picker(films(), row_tokens=2**20, mirror=((0, 0.5),), reverse=((0, 0.2),))
    picks = everything(pick)
    assert picks.mirrored.mean() == pytest.approx(0.5, abs=0.03)
    assert picks.reversed.mean() == pytest.approx(0.2, abs=0.03)
    assert (picks.mirrored * picks.reversed).mean() == pytest.approx(0.1, abs=0.02)
    for none in (pick.held_out(np.arange(400)), everything(picker(films(), row_tokens=2**20))):
        assert not none.mirrored.any() and not none.reversed.any()


def test_a_row_of_a_schedule_holds_until_the_next():
    pick = picker(
        films(),
        row_tokens=2**20,
        sides=((0, 64, 64), (100, 96, 96)),
        drop=((0, 0.9, 1, 1), (50, 0, 1, 1)),
    )
    assert stages(pick.cfg.views) == [0, 50, 100]
    early, middle, late = (everything(pick, step) for step in (49, 99, 100))
    assert (early.keep < early.tokens).any() and (middle.keep == middle.tokens).all()
    np.testing.assert_array_equal(early.width, middle.width)
    assert late.width.mean() > 1.3 * middle.width.mean()
    # The held-out clips are seen as at the end, the same at every step.
    held_out = pick.held_out(np.arange(400))
    np.testing.assert_array_equal(held_out.width, late.width[:400])
    assert (held_out.keep == held_out.tokens).all()


def test_a_pick_depends_on_its_number_alone():
    pick = picker(films(), row_tokens=2**20, sides=((0, 64, 200),), seconds=((0, 1, 3),))
    picks = everything(pick)
    some = np.random.default_rng(0).permutation(4000)[:100]
    again = pick(picks.clip[some], some, 0)
    for column, other in zip(picks.take(some), again):
        np.testing.assert_array_equal(column, other)
