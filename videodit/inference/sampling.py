"""Samples the latents of a batch: the solver and the guidance, applied to a task's velocity."""

from typing import Any

import jax
import jax.numpy as jnp

from videodit.config import FlowConfig, SampleConfig
from videodit.data.packing import PackedBatch
from videodit.diffusion import flow, samplers
from videodit.diffusion.levels import sampling_level
from videodit.tasks.task import Generative
from videodit.tasks.views import clip_tokens, slot_levels, token_levels


def sample_latents(
    task: Generative,
    cfg: SampleConfig,
    trained: FlowConfig,
    params: Any,
    frozen: Any,
    batch: PackedBatch,
) -> jax.Array:
    """Latents B L C float32, drawn by the configured solver with classifier-free guidance.

    Noise is a function of sample id and position. Tokens that batch.given marks keep the latents
    of batch.tokens to the bit.
    """
    noise = flow.token_noise(
        jax.random.key(0), batch.sample_ids, batch.segment_ids, batch.positions, task.channels
    )
    nobody = jnp.zeros_like(batch.valid)

    def levels(share: jax.Array) -> jax.Array:
        return slot_levels(batch, sampling_level(share, clip_tokens(batch), trained))

    velocity = samplers.guided(
        task.velocity(params, frozen, batch, nobody),
        task.velocity(params, frozen, batch, ~nobody),
        cfg.guidance,
    )
    return samplers.sample(
        velocity,
        noise,
        task.encode(frozen, batch),
        batch.given,
        samplers.schedule(cfg.steps, levels),
        lambda levels: token_levels(batch, levels),
        cfg.solver,
    )
