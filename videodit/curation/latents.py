"""An encoder of a trained autoencoder, and a reader of the clips that it encodes."""

import os
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import numpy as np
import pyarrow.compute as pc

from videodit.checkpoint import read_config, restore_ema
from videodit.config import SYNTHETIC, Config, ConfigError, ViewConfig
from videodit.data import patches
from videodit.data.packing import PackedBatch
from videodit.data.reading import Reader
from videodit.data.sources import storage
from videodit.data.sources.catalog import Catalog
from videodit.data.sources.source import check_tokenizer, open_source, open_tokenizer
from videodit.data.tokenizer import FILE as TOKENIZER_FILE
from videodit.models.autoencoder import encoder_digest, make_autoencoder, to_pixels
from videodit.sharding import abstract, axis_size
from videodit.tasks.autoencoder import AutoencoderTask
from videodit.tasks.registry import expect_task
from videodit.tasks.resolve import resolve_trained
from videodit.tasks.views import cells

ROW_UNIT = 128  # tokens; rows as long as the longest clip are rounded up to a multiple


class Rows(NamedTuple):
    """How clips are packed; 0, or -1 for workers, means as the autoencoder was trained."""

    row_tokens: int = 0  # 0: at least as many as the longest clip needs
    batch_rows: int = 0  # rounded up to a multiple of the devices
    workers: int = -1  # decoding processes


AS_TRAINED = Rows()


class Encoder:
    """The encoder of a trained autoencoder, on every device of the current mesh."""

    def __init__(self, workdir: str) -> None:
        """Raises ConfigError naming `autoencoder` if there is none."""
        cfg = read_config(workdir, "autoencoder")
        expect_task(cfg, AutoencoderTask, "autoencoder", workdir)
        self.cfg = resolve_trained(cfg)
        init, apply = make_autoencoder(self.cfg.autoencoder, self.cfg.compute)
        self._params = restore_ema(workdir, abstract(init, jax.random.key(0)), "autoencoder")
        self.digest = encoder_digest(self._params)

        @jax.jit
        def run(params: Any, batch: PackedBatch) -> jax.Array:
            place = cells(batch, self.cfg.autoencoder)
            return apply(params, to_pixels(batch.tokens), place, method="encode")[0]

        self._run = run

    def __call__(self, batch: PackedBatch) -> jax.Array:
        """Latents B L C float32 (posterior means) of packed pixels."""
        return self._run(self._params, batch)


def open_reader(cfg: Config, data: str, tokenizer: str, rows: Rows) -> Reader:
    """A reader of whole clips of `data` into rows that are long enough for all of them.

    Raises ConfigError.
    """
    names, words = data.split(","), open_tokenizer(tokenizer)
    one = len(names) == 1
    source_cfg = replace(
        cfg.data,
        catalog=data if one else "",
        mixture=() if one else tuple((name, 1.0) for name in names),
        where="",
        latents="",
        views=ViewConfig(),
        workers=cfg.data.workers if rows.workers < 0 else rows.workers,
        max_broken=1.0,  # broken clips are left out, however many they are
    )
    source = open_source(source_cfg, words)
    check_tokenizer(source.catalog, words)
    source.catalog.open_texts()
    _check_ids(source.catalog)
    row_tokens = rows.row_tokens or max(cfg.data.row_tokens, _longest(source.catalog, cfg))
    batch_rows, ways = rows.batch_rows or cfg.data.batch_rows, axis_size("batch")
    batch_rows = -(-batch_rows // ways) * ways
    captions = int(source.catalog.caption_lengths.values.max()) * cfg.data.max_segments
    packed = replace(
        source_cfg,
        row_tokens=row_tokens,
        text_tokens=captions,
        batch_rows=batch_rows,
        rows_per_group=batch_rows,
    )
    return Reader(source, words, packed, cfg.autoencoder.patch, seed=0)


def tokenizer_of(data: str, autoencoder: str) -> str:
    """The first folder of `data` that has a tokenizer, else the autoencoder's workdir."""
    if data == SYNTHETIC:
        return SYNTHETIC
    has = lambda name: storage.is_file(os.path.join(name, TOKENIZER_FILE))
    return next(filter(has, data.split(",")), autoencoder)


def _check_ids(catalog: Catalog) -> None:
    """Raises ConfigError if two clips have the same id, by which latents are found."""
    counts = pc.value_counts(catalog.ids.to_arrow())
    twice = counts.filter(pc.greater(counts.field("counts"), 1))
    if len(twice):
        raise ConfigError(f"data: {len(twice)} ids belong to several clips: {twice[0]['values']}")


def _longest(catalog: Catalog, cfg: Config) -> int:
    """Tokens of the longest clip, rounded up to a multiple of ROW_UNIT."""
    frames, height, width = (
        column.astype(np.int64) for column in (catalog.frames, catalog.height, catalog.width)
    )
    grid = patches.grid(frames, height, width, cfg.autoencoder.patch)
    return -(-int(np.prod(grid, axis=0).max()) // ROW_UNIT) * ROW_UNIT
