import dataclasses
import json
import pickle
from contextlib import closing

import jax
import numpy as np
import pytest
from odd_sources import OddSource

from videodit.config import ConfigError, DataConfig, ModeWeights, ViewConfig
from videodit.data import patches
from videodit.data.loader import train_batches
from videodit.data.planning.plan import Plan
from videodit.data.sources.catalog import Catalog
from videodit.data.sources.latents import DESCRIPTION, DTYPES, Description, LatentSource, encode
from videodit.data.sources.shards import write_records
from videodit.data.sources.source import open_source, open_tokenizer
from videodit.data.video.files import View, whole
from videodit.models.codec import STATISTICS_FILE

PATCH, CHANNELS, LEFT_OUT = (4, 8, 8), 6, 5
TOKENIZER = open_tokenizer("synthetic")


def clips_with(**changes):
    """Synthetic clips, of which one is damaged, with these columns of the catalog changed."""
    source = OddSource(refuse=[LEFT_OUT])
    source.catalog = dataclasses.replace(source.catalog, **changes)
    source.key = f"synthetic clips in memory, {list(changes)}"
    return source


SOURCE = clips_with()


def size_of(i):
    clips = SOURCE.catalog
    return tuple(int(column[i]) for column in (clips.frames, clips.height, clips.width))


def latents_of(i):
    grid = patches.grid(*size_of(i), PATCH)
    return np.random.default_rng(i).normal(size=(*grid, CHANNELS)).astype(np.float32)


def store(folder, dtype="float32", clips=None):
    """A folder of latents of these clips, in two shards and in another order than the source."""
    clips = [i for i in range(23, -1, -1) if i != LEFT_OUT] if clips is None else clips
    places = []
    for name, part in (("a", clips[:10]), ("b", clips[10:])):
        records = ((encode(latents_of(i), dtype), {}) for i in part)
        places += [(row["shard"], row["index"]) for row in write_records(folder, name, records)]
    shard, index = zip(*places)
    columns = {"shard": np.array(shard, object), "index": np.array(index, np.int32)}
    dataclasses.replace(SOURCE.catalog.select(clips), **columns).write(folder)
    nothing = [0.0] * CHANNELS
    left_out = [SOURCE.catalog.ids[LEFT_OUT]]
    description = Description("d1", dtype, PATCH, CHANNELS, nothing, nothing, left_out)
    (folder / DESCRIPTION).write_text(json.dumps(description._asdict()))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return store(tmp_path_factory.mktemp("latents"))


def test_a_clip_has_its_own_latents_also_in_a_pickled_copy(folder):
    source = LatentSource(SOURCE, folder)
    for made in (source, pickle.loads(pickle.dumps(source))):
        assert made.channels == CHANNELS and list(made.catalog.ids) == list(SOURCE.catalog.ids)
        for i in set(range(24)) - {LEFT_OUT}:
            np.testing.assert_array_equal(made.read(i, whole(*size_of(i))), latents_of(i))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_other_dtypes_are_rounded_once(tmp_path, dtype):
    source = LatentSource(SOURCE, store(tmp_path, dtype))
    read, expected = source.read(3, whole(*size_of(3))), latents_of(3)
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, expected.astype(DTYPES[dtype]).astype(np.float32))
    assert 0 < np.abs(read - expected).max() < 0.02


def test_what_float16_cannot_hold_is_refused():
    with pytest.raises(ConfigError, match="not finite in float16"):
        encode(np.full((1, 1, 1, 2), 1e5, np.float32), "float16")


def batches(source, **changes):
    cfg = DataConfig(
        row_tokens=256, text_tokens=128, max_segments=8, batch_rows=2, rows_per_group=8,
        max_broken=1.0, modes=ModeWeights(generate=1, animate=1, extend=1), **changes,
    )  # fmt: skip
    plan = Plan(source.catalog, cfg, 0, PATCH, chunk=2)
    with closing(train_batches(source, plan, TOKENIZER, PATCH, start_step=0)) as stream:
        return [jax.device_get(next(stream)) for _ in range(6)]


@pytest.mark.parametrize("workers, views", [
    (0, ViewConfig()),
    (1, ViewConfig()),
    (0, ViewConfig(seconds=((0, 100, 100),), drop=((0, 0.6, 2, 2),))),
])  # fmt: skip
def test_batches_are_those_of_pixels_but_for_the_tokens(folder, workers, views):
    pixels = batches(SOURCE, views=views)
    latents = batches(
        LatentSource(SOURCE, folder), views=views, workers=workers, latents=str(folder)
    )
    tasks = set()
    for a, b in zip(pixels, latents):
        for name in set(a._fields) - {"tokens"}:
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)
        assert b.tokens.dtype == np.float32 and b.tokens.shape == (2, 256, CHANNELS)
        for row, m in np.argwhere(b.valid):
            here, i = b.segment_ids[row] == m + 1, b.clip_ids[row, m]
            at = patches.cells_at(b.positions[row, here], b.grids[row, m], b.fps[row, m], PATCH)
            expected = latents_of(i).reshape(-1, CHANNELS)[at]
            np.testing.assert_array_equal(b.tokens[row, here], expected)
            tasks.add(int(b.mode_ids[row, m]))
        assert not b.tokens[b.segment_ids == 0].any()
    assert tasks == {0, 1, 2} and sum(batch.replaced.sum() for batch in latents) > 0


def test_a_damaged_record_is_named(tmp_path):
    store(tmp_path, clips=list(range(24)))
    stored = Catalog.read(tmp_path)
    tokens = np.array([latents_of(i).size for i in range(10)])
    other = int(np.argmax(tokens != tokens[3]))  # of the same shard
    index = stored.index.copy()
    index[3] = other
    dataclasses.replace(stored, index=index).write(tmp_path)
    source = LatentSource(SOURCE, tmp_path)
    where = rf"clip synthetic-0-3, record {other} of a\.array_record"
    with pytest.raises(ConfigError, match=where + rf".*{4 * tokens[other]} bytes.*{4 * tokens[3]}"):
        source.read(3, whole(*size_of(3)))


def test_what_has_no_latents_is_said(folder, tmp_path):
    source = LatentSource(SOURCE, folder)
    with pytest.raises(ConfigError, match=r"clip synthetic-0-5 was damaged"):
        source.read(LEFT_OUT, whole(*size_of(LEFT_OUT)))
    with pytest.raises(ConfigError, match=r"clip synthetic-0-0: .* whole clip"):
        source.read(0, View(0, 1, *(size_of(0)[0], 8, 8)))
    with pytest.raises(
        ConfigError, match=r"data\.latents=.*synthetic-0-22 is missing, and so are 1"
    ):
        LatentSource(SOURCE, store(tmp_path, clips=list(range(22))))
    stored = DataConfig(catalog=str(folder))
    with pytest.raises(ConfigError, match=r"data\.catalog=.*expected it in data\.latents"):
        open_source(stored, TOKENIZER)
    with pytest.raises(ConfigError, match=r"data\.latents='.*encode_latents"):
        open_source(DataConfig(catalog="synthetic", latents=str(tmp_path / "none")), TOKENIZER)


def test_the_folder_of_an_autoencoder_is_not_one_of_latents(tmp_path):
    (tmp_path / STATISTICS_FILE).write_text('{"mean": [0.0], "covariance": [[1.0]]}')
    message = f"data.latents='{tmp_path}': expected a folder .* it has no {DESCRIPTION}"
    with pytest.raises(ConfigError, match=message):
        open_source(DataConfig(catalog="synthetic", latents=str(tmp_path)), TOKENIZER)


def test_latents_of_a_clip_of_another_size_are_refused(tmp_path):
    store(tmp_path)
    width = SOURCE.catalog.width.copy()
    width[7] += 8
    with pytest.raises(ConfigError, match=r"clip synthetic-0-7 has another width"):
        LatentSource(clips_with(width=width), tmp_path)


def test_another_encoder_is_refused(folder):
    source = LatentSource(SOURCE, folder)
    source.check_encoder("d1", "there")
    with pytest.raises(ConfigError, match=r"data\.latents=.*\(d1\).*workdir='there' \(d2\)"):
        source.check_encoder("d2", "there")


@pytest.mark.parametrize("views, message", [
    ({"seconds": ((0, 0.2, 100),)}, r"data\.views\.seconds=.*clip synthetic-0-\d+ \("),
    ({"sides": ((0, 16, 64),)}, r"data\.views\.sides=.*clip synthetic-0-\d+ \("),
    ({"rates": ((0, 24, 4),)}, r"data\.views\.rates=.*clip synthetic-0-\d+ \("),
])  # fmt: skip
def test_clips_that_may_not_be_seen_whole_are_refused(views, message):
    cfg = DataConfig(latents="there", row_tokens=256, views=ViewConfig(**views))
    with pytest.raises(ConfigError, match=message):
        Plan(SOURCE.catalog, cfg, 0, PATCH)


@pytest.mark.parametrize("changes, field", [
    ({"modes": ModeWeights(connect=0.1)}, r"data\.modes\.connect=0\.1"),
    ({"modes": ModeWeights(prepend=0.1)}, r"data\.modes\.prepend=0\.1"),
    ({"modes": ModeWeights(inpaint=0.1)}, r"data\.modes\.inpaint=0\.1"),
    ({"views": ViewConfig(drop_static=((0, 0.5),))}, r"data\.views\.drop_static"),
    ({"views": ViewConfig(mirror=((0, 0.5),))}, r"data\.views\.mirror"),
    ({"views": ViewConfig(reverse=((0, 0.5),))}, r"data\.views\.reverse"),
])  # fmt: skip
def test_what_needs_pixels_is_refused(changes, field):
    DataConfig(**changes)
    with pytest.raises(ConfigError, match=field):
        DataConfig(latents="there", **changes)
