import numpy as np
import pytest
from packs import tiny_config

from videodit.data.sources.source import open_tokenizer
from videodit.forecasting import clips
from videodit.forecasting.clips import typical_clips
from videodit.tasks.registry import make_task

TOKENIZER = open_tokenizer("synthetic")
SIZED = {"data__views__sides": ((0, 32, 64),), "data__views__seconds": ((0, 1.0, 1.0),)}


def seen_shares(cfg, found, platform):
    """The shares seen in the stack that does most of the work of a step over these clips."""
    stack = make_task(cfg, TOKENIZER).stacks(found, cfg.steps)[0]
    return clips.seen_shares(cfg, stack, platform)


def test_clips_have_the_mean_size_of_the_schedule():
    cfg = tiny_config(data__row_tokens=2000, data__views__rates=((0, 12.0),), **SIZED)
    found = typical_clips(cfg)
    # The mean of side^2 is 48^2 + 16^2 / 3 pixels: 6 cells of 8 pixels along a side; 12 frames.
    assert found.grids[0].tolist() == [4, 6, 6] and len(found.tokens) == 8
    assert found.tokens.sum() <= 2000 and found.text.sum() <= cfg.data.text_tokens


@pytest.mark.parametrize("tokens", [40, 300, 5000])
def test_a_given_length_is_about_kept_and_never_more_than_a_row(tokens):
    cfg = tiny_config(data__row_tokens=1024)
    assert typical_clips(cfg, tokens).tokens[0] == pytest.approx(min(tokens, 1024), rel=0.2)


def test_a_clip_that_fills_its_row_sees_all_of_it_and_shorter_ones_their_share():
    cfg = tiny_config(data__row_tokens=4096, data__max_segments=16)
    assert seen_shares(cfg, typical_clips(cfg, 4096), "cuda") == (1.0, 1.0)
    quarter = seen_shares(cfg, typical_clips(cfg, 1024), "cuda")
    assert quarter.tiles == pytest.approx(1 / 4) and quarter.tiles < quarter.blocks < 1


def test_splash_sees_the_blocks_of_the_row_that_a_clip_touches():
    cfg = tiny_config(data__row_tokens=4096, data__max_segments=16)
    # 4 clips of 1024 tokens touch three blocks of 512 along each axis: of 8 x 8, 36.
    share = seen_shares(cfg, typical_clips(cfg, 1024), "tpu").tiles
    assert share == pytest.approx(36 / 64)
    starts = np.random.default_rng(0).integers(0, 512, 10_000)
    blocks = (starts + 1023) // 512 - starts // 512 + 1
    assert share == pytest.approx(4 * np.square(blocks).mean() / 64, rel=0.02)


def test_splash_has_smaller_blocks_of_parts_along_a_ring():
    whole, parts = (
        tiny_config(data__row_tokens=32_768, data__max_segments=16, mesh__ring=ring)
        for ring in (1, 2)
    )
    share = lambda cfg: seen_shares(cfg, typical_clips(cfg, 8192), "tpu").tiles
    assert share(whole) == pytest.approx(4 * (9 / 32) ** 2)  # four clips, of blocks of 1024
    assert share(parts) == pytest.approx(4 * (17 / 64) ** 2)  # of 512


def test_an_autoencoder_sees_two_chunks_of_frames():
    cfg = tiny_config("autoencoder", data__row_tokens=16 * 256, autoencoder__chunk=1)
    share = seen_shares(cfg, typical_clips(cfg, 16 * 256), "cuda").tiles
    # In two calls of the kernel, each for half of the chunks; and tiles of 128 tokens.
    assert share == pytest.approx((2 * 16 - 1) / 16**2 / 2, rel=0.05)
