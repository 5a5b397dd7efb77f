"""Our autoencoder as a `LatentCodec`: in packed rows, and chunk by chunk in any duration."""

from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from videodit.checkpoint import read_config, restore_ema
from videodit.config import RANDOM, AutoencoderConfig, ComputeConfig, ConfigError
from videodit.data.packing import PackedBatch
from videodit.files import read_object
from videodit.flops import Clips, StackRun, chunk_pairs
from videodit.models.autoencoder import (
    SIZES,
    Cells,
    Past,
    encoder_digest,
    make_autoencoder,
    to_pixels,
)
from videodit.models.cells import cells
from videodit.models.protocols import CodecStream, LatentCodec, Method, Statistics
from videodit.models.sizes import lookup
from videodit.nn.block import StackShape
from videodit.nn.cache import KeysValues
from videodit.parameters import Params
from videodit.sharding import abstract

FIELD = "autoencoder.workdir"
STATISTICS_FILE = "latents.json"  # in the folder of an autoencoder's run: `Statistics`


class AutoencoderCodec(LatentCodec):
    """The autoencoder of models/autoencoder.py, trained by a run in cfg.workdir."""

    def __init__(self, cfg: AutoencoderConfig, compute: ComputeConfig) -> None:
        self.cfg, self.compute = cfg, compute
        self.patch, self.channels = cfg.patch, cfg.channels
        self._init, self._apply = make_autoencoder(cfg, compute)

    @staticmethod
    def resolve(cfg: AutoencoderConfig) -> AutoencoderConfig:
        """`cfg` as the run in cfg.workdir has it, if it names one. Raises ConfigError."""
        if cfg.workdir in ("", RANDOM):
            return cfg
        return replace(read_config(cfg.workdir, FIELD).autoencoder, workdir=cfg.workdir)

    @staticmethod
    def shapes(cfg: AutoencoderConfig) -> tuple[StackShape, ...]:
        return (lookup("autoencoder.size", cfg.size, SIZES),)

    def init(self, key: jax.Array) -> Params:
        return self._init(key)

    def read(self) -> Params:
        """The EMA weights of the run in cfg.workdir. Raises ConfigError."""
        return restore_ema(self.cfg.workdir, abstract(self.init, jax.random.key(0)), FIELD)

    def statistics(self) -> Statistics:
        """The statistics that the run wrote after its last step. Raises ConfigError."""
        return read_statistics(self.cfg.workdir)

    def spread(self, params: Params) -> np.ndarray:
        """The norms of the rows of the linear decoder: the PCA that latents are whitened by."""
        kernel = np.asarray(jax.device_get(params["decoder"]["linear"]["kernel"]), np.float64)
        return np.linalg.norm(kernel, axis=-1)

    def digest(self, params: Params) -> str:
        return encoder_digest(params)

    def encode(self, params: Params, batch: PackedBatch, segment_ids: jax.Array) -> jax.Array:
        """The posterior means."""
        place = cells(batch, self.cfg, segment_ids)
        return self._apply(params, to_pixels(batch.tokens), place, method="encode")[0]

    def decode(self, params: Params, latents: jax.Array, batch: PackedBatch) -> jax.Array:
        return self._apply(params, latents, cells(batch, self.cfg), method="decode")

    def stream(
        self, params: Params, method: Method, grid: tuple[int, int], fps: float
    ) -> CodecStream:
        return CodecHalf(self, params, method, grid, fps)

    def stacks(self, clips: Clips, remat: str) -> list[StackRun]:
        shape = self.shapes(self.cfg)[0]
        pairs = chunk_pairs(clips, self.cfg.chunk, self.cfg.window, shape.depth)
        return [StackRun(shape, clips.tokens, pairs, remat, backward=0, calls=2)]

    @cached_property
    def steps(self) -> dict[Method, "jax.stages.Wrapped"]:
        """The compiled steps of streams, which share their programs."""
        return {method: self._make_step(method) for method in ("encode", "decode")}

    def _make_step(self, method: Method) -> "jax.stages.Wrapped":
        def step(
            params: Params, values: jax.Array, place: Cells, past: Past
        ) -> tuple[jax.Array, Past]:
            values = to_pixels(values) if values.dtype == jnp.uint8 else values
            method_name, room = f"stream_{method}", past.cells.segment_ids.shape[1]
            output, new = self._apply(params, values, place, past, method=method_name)
            return output, _padded(new, room)

        return jax.jit(step)


class CodecHalf:
    """One half of the autoencoder over one clip. It compiles two programs for each
    `padded_length`: for the first latent frame, and for chunks.
    """

    def __init__(
        self,
        codec: AutoencoderCodec,
        params: Params,
        method: Method,
        grid: tuple[int, int],
        fps: float,
    ) -> None:
        self._codec, self._params, self._run = codec, params, codec.steps[method]
        self._grid, self._fps = grid, fps
        self._frame = 0  # latent frames so far
        shape, nothing = SIZES[codec.cfg.size], self._cells(codec.cfg.chunk, frames=0)
        size = (shape.depth, *nothing.segment_ids.shape, shape.heads, shape.head_size)
        keys = jnp.zeros(size, codec.compute.dtype)
        self._past = Past(nothing, KeysValues(keys, keys))

    def step(self, values: np.ndarray) -> np.ndarray:
        """As `CodecStream` says."""
        t, h, w, size = values.shape
        place = self._cells(self._codec.cfg.chunk if self._frame else 1, frames=t)
        tokens = np.zeros((*place.segment_ids.shape, size), values.dtype)
        tokens[0, : t * h * w] = values.reshape(-1, size)
        output, self._past = self._run(self._params, tokens, place, self._past)
        self._frame += t
        return np.asarray(output)[0, : t * h * w].reshape(t, h, w, -1)

    def _cells(self, room: int, *, frames: int) -> Cells:
        """Cells of `room` latent frames, of which `frames` are there; all else is padding."""
        cfg, (height, width) = self._codec.cfg, self._grid
        tokens = np.arange(padded_length(room * height * width))[None]
        t, h, w = np.unravel_index(tokens, (len(tokens[0]), height, width))
        latent_frame = (self._frame + t).astype(np.int32)
        seconds = latent_frame * (cfg.patch[0] / self._fps)
        positions = np.stack([seconds, h, w], axis=-1).astype(np.float32)
        whole = np.full(t.shape, height * width <= cfg.window**2)
        arrays: list[Any] = [positions, (t < frames).astype(np.int32), latent_frame, whole]
        return Cells(*arrays)  # numpy arrays, which become jax arrays when a program is called


def padded_length(tokens: int) -> int:
    """`tokens` rounded up to three significant bits: under 25 % padding, four lengths for each
    doubling.
    """
    unit = 1 << max((tokens - 1).bit_length() - 3, 0)
    return -(-tokens // unit) * unit


def read_statistics(workdir: str) -> Statistics:
    """The statistics in the folder of an autoencoder's run. Raises ConfigError."""
    path = Path(workdir) / STATISTICS_FILE
    if not path.is_file():
        raise ConfigError(
            f"{FIELD}={workdir!r}: {path.name} is missing: "
            "its training has not reached the last step"
        )
    values = read_object(path)
    try:
        found = Statistics(*(np.array(values[name], float) for name in ("mean", "covariance")))
    except (KeyError, ValueError, TypeError):
        found = Statistics(np.empty(0), np.empty(0))
    good = found.mean.ndim == 1 and found.mean.size
    if not (good and found.covariance.shape == found.mean.shape * 2):
        raise ConfigError(f"{path}: expected the mean (C) and covariance (C C) of latents")
    return found


def _padded(past: Past, room: int) -> Past:
    """The past with room for `room` tokens; what is added is padding (segment 0)."""

    def pad(x: jax.Array, axis: int) -> jax.Array:
        widths = [(0, 0)] * x.ndim
        widths[axis] = (0, room - x.shape[axis])
        return jnp.pad(x, widths)

    place = (pad(jnp.asarray(x), 1) for x in past.cells)
    return Past(Cells(*place), KeysValues(*(pad(x, 2) for x in past.keys_values)))
