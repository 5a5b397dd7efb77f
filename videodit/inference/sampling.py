"""From prompts to clips: requests of any shape are packed into rows and sampled together."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from videodit.config import Config, ConfigError, SampleConfig
from videodit.data import patches
from videodit.data.loader import place
from videodit.data.packing import PackedBatch, empty_batch, pack_row, row_of, segment, unpack
from videodit.data.planning.fitting import fit_decreasing
from videodit.data.tokenizer import Tokenizer
from videodit.diffusion import flow, samplers
from videodit.models.autoencoder import to_bytes
from videodit.sharding import first_rows
from videodit.tasks.views import clip_tokens, token_levels


class Request(NamedTuple):
    """A clip to be made: the same request gives the same clip whatever it is packed with."""

    prompt: str
    width: int = 64  # pixels; rounded up to whole patches and cropped
    height: int = 64
    frames: int = 17  # rounded up to 1 + a multiple of the patch's frames, and cropped
    fps: float = 12.0
    seed: int = 0


def parse_size(text: str) -> tuple[int, int]:
    """ "96x64" -> (96, 64), width x height in pixels. Raises ConfigError."""
    width, _, height = text.partition("x")
    if not (width.isdigit() and height.isdigit()):
        raise ConfigError(f"size {text!r}: expected WIDTHxHEIGHT in pixels, such as 96x64")
    return int(width), int(height)


def make_sampler(task, cfg: SampleConfig):
    """A compiled `sampler(params, frozen, batch) -> B L P uint8` pixels of all clips of a pack.

    `task` is a tasks/diffusion.py:DiffusionTask.
    """

    @jax.jit
    def sampler(params, frozen, batch: PackedBatch):
        return to_bytes(
            task.decode(frozen, sample_latents(task, cfg, params, frozen, batch), batch)
        )

    return sampler


def sample_latents(task, cfg: SampleConfig, params, frozen, batch: PackedBatch):
    """Latents B L C drawn by the configured solver; noise is a function of sample id and position.

    Tokens that batch.given marks keep the latents of batch.tokens to the bit.
    """
    noise = flow.token_noise(
        jax.random.key(0), batch.sample_ids, batch.segment_ids, batch.positions, task.channels
    )
    nothing = jnp.zeros_like(batch.valid)

    def velocity_without(dropped):
        text = task.read_captions(params, batch, dropped)
        return lambda x, levels: task.predict(params, batch, x, levels, *text)

    def shift(level):
        clip = flow.shift(level, clip_tokens(batch), task.cfg.flow.shift_tokens)
        return flow.slot_levels(clip)

    velocity = samplers.guided(velocity_without(nothing), velocity_without(~nothing), cfg.guidance)
    return samplers.sample(
        velocity,
        noise,
        task.encode(frozen, batch),
        batch.given,
        samplers.schedule(cfg.steps, shift),
        lambda levels: token_levels(batch, levels),
        cfg.solver,
    )


def sample_requests(
    sampler, params, frozen, requests: Sequence[Request], tokenizer: Tokenizer, cfg: Config
) -> list[np.ndarray]:
    """Clips T H W 3 uint8, one a request. Raises ConfigError naming a request that cannot be."""
    batch, order = pack_requests(requests, tokenizer, cfg)
    pixels = sampler(params, frozen, place(batch))
    pixels = jax.device_get(first_rows(pixels, len(batch.valid)))
    sizes = [(requests[i].frames, requests[i].height, requests[i].width) for i in order]
    clips = unpack(pixels, batch, cfg.autoencoder.patch, sizes)
    return [clips[order.index(i)] for i in range(len(requests))]


def pack_requests(requests, tokenizer, cfg: Config) -> tuple[PackedBatch, list[int]]:
    """Black clips of the requested shapes in rows, and which request each clip is, in order."""
    data, patch = cfg.data, cfg.autoencoder.patch
    segments = [_segment(request, tokenizer, cfg) for request in requests]
    rows = fit_decreasing(
        [math.prod(s.grid) for s in segments],
        [len(s.text_ids) for s in segments],
        row_tokens=data.row_tokens,
        text_tokens=data.text_tokens,
        max_segments=data.max_segments,
    )
    batch = empty_batch(
        max(len(rows), 1),
        3 * math.prod(patch),
        row_tokens=data.row_tokens,
        text_tokens=data.text_tokens,
        max_segments=data.max_segments,
    )
    for b, row in enumerate(rows):
        pack_row([segments[i] for i in row], row_of(batch, b), patch=patch)
    return batch, [i for row in rows for i in row]


def _segment(request: Request, tokenizer, cfg: Config):
    patch, (_, ph, pw) = cfg.autoencoder.patch, cfg.autoencoder.patch
    size = f"{request.width}x{request.height}, {request.frames} frames"
    if request.width < pw or request.height < ph or request.frames < 1:
        raise ConfigError(f"size {size}: expected at least one patch, {pw}x{ph}, and one frame")
    if not request.fps > 0:
        raise ConfigError(f"fps {request.fps}: expected more than 0")
    tokens = int(np.prod(patches.grid(request.frames, request.height, request.width, patch)))
    if tokens > cfg.data.row_tokens:
        raise ConfigError(
            f"size {size}: needs {tokens} tokens; this model's rows have "
            f"data.row_tokens={cfg.data.row_tokens}"
        )
    if not request.prompt.strip():
        raise ConfigError("the prompt is empty: expected a description of the clip")
    words = tokenizer.encode(request.prompt)
    if len(words) > cfg.data.text_tokens:
        raise ConfigError(
            f"the prompt has {len(words)} text tokens; this model takes at most "
            f"data.text_tokens={cfg.data.text_tokens}: {request.prompt[:60]!r}..."
        )
    black = np.zeros((request.frames, request.height, request.width, 3), np.uint8)
    return segment(black, patch=patch, fps=request.fps, text_ids=words, sample_id=request.seed)
