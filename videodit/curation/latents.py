"""An encoder of a trained autoencoder, and a reader of the clips that it encodes."""

import os
from dataclasses import replace
from typing import NamedTuple

import jax
import numpy as np
import pyarrow.compute as pc

from videodit.checkpoint import read_config
from videodit.config import SYNTHETIC, AutoencoderConfig, Config, ConfigError, ViewConfig
from videodit.data import patches
from videodit.data.packing import PackedBatch, unpack
from videodit.data.reading import Reader
from videodit.data.sources import storage
from videodit.data.sources.catalog import Catalog
from videodit.data.sources.source import check_tokenizer, open_source, open_tokenizer
from videodit.data.tokenizer import FILE as TOKENIZER_FILE
from videodit.inference.codec import Codec
from videodit.models.registry import make_codec
from videodit.sharding import axis_size
from videodit.tasks.autoencoder import AutoencoderTask
from videodit.tasks.registry import expect_task
from videodit.tasks.resolve import resolve_trained

ROW_UNIT = 128  # tokens; rows as long as the longest clip are rounded up to a multiple


class Rows(NamedTuple):
    """How clips are packed; 0, or -1 for workers, means as the autoencoder was trained."""

    row_tokens: int = 0  # 0: at least as many as the longest clip needs
    batch_rows: int = 0  # rounded up to a multiple of the devices
    workers: int = -1  # decoding processes


AS_TRAINED = Rows()


class Encoder:
    """The encoder of a trained codec, on every device of the current mesh."""

    def __init__(self, workdir: str, kind: str = "videodit") -> None:
        """`kind`: as autoencoder.kind. Raises ConfigError if `workdir` holds no such codec."""
        self.cfg = _own_config(workdir) if kind == "videodit" else _config_of(workdir, kind)
        self._codec = make_codec(self.cfg.autoencoder, self.cfg.compute)
        self._params = self._codec.read()
        self.digest = self._codec.digest(self._params)
        self._run = jax.jit(lambda p, batch: self._codec.encode(p, batch, batch.segment_ids))

    def __call__(self, batch: PackedBatch) -> jax.Array | np.ndarray:
        """Latents B L C float32 (of our autoencoder: posterior means) of packed pixels."""
        if self._codec.packed:
            return self._run(self._params, batch)
        return self._encode_whole(jax.device_get(batch))

    def _encode_whole(self, batch: PackedBatch) -> np.ndarray:
        """The same, clip by clip; edges are repeated to whole patches."""
        cfg = self.cfg
        codec = Codec(cfg.autoencoder, cfg.compute, jax.device_get(self._params))
        latents = np.zeros((*batch.segment_ids.shape, cfg.autoencoder.channels), np.float32)
        clips = unpack(batch.tokens, batch, cfg.autoencoder.patch)
        for (b, m), clip in zip(np.argwhere(batch.valid), clips):
            encoded = np.concatenate(list(codec.encode_stream(clip, float(batch.fps[b, m]))))
            latents[b, batch.segment_ids[b] == m + 1] = encoded.reshape(-1, encoded.shape[-1])
        return latents


def _own_config(workdir: str) -> Config:
    """The config of an autoencoder's run. Raises ConfigError naming `autoencoder`."""
    cfg = read_config(workdir, "autoencoder")
    expect_task(cfg, AutoencoderTask, "autoencoder", workdir)
    return resolve_trained(_with_workdir(cfg, workdir))


def _config_of(workdir: str, kind: str) -> Config:
    """A config with a codec that others trained. Raises ConfigError."""
    return resolve_trained(_with_workdir(Config(autoencoder=AutoencoderConfig(kind)), workdir))


def _with_workdir(cfg: Config, workdir: str) -> Config:
    return replace(cfg, autoencoder=replace(cfg.autoencoder, workdir=workdir))


def open_reader(cfg: Config, data: str, tokenizer: str, rows: Rows) -> Reader:
    """A reader of whole clips of `data` into rows that are long enough for all of them.

    Raises ConfigError.
    """
    names, words = data.split(","), open_tokenizer(tokenizer, "tokenizer")
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
