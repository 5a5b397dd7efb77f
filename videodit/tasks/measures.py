"""What a diffusion model knows at fixed noise levels, however its training draws them.

  loss_at_T, caption_gain_at_T   at level T: the loss, and how much more it is with another caption
  caption_accuracy               whether a clip's own caption has a lower loss than OTHERS others
  caption_chance                 what guessing would give

Levels at which a caption can help are few and high; a mean over levels hides them. The classifier
is that of arXiv:2303.16203: of all captions, the one that explains the noise best.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from videodit.data.packing import PackedBatch
from videodit.diffusion.levels import shift
from videodit.nn.layers import to_slots
from videodit.tasks.views import clip_tokens, rotate_captions

LEVELS = (0.5, 0.8, 0.9, 0.95, 0.98, 0.995)
# Where captions were found to matter: signal per noise falls as the root of a clip's tokens does.
WINDOW = (0.6, 0.72)  # levels of a clip of one token; `shift` has those of the others
OTHERS = 7  # captions that are not a clip's own

Loss = Callable[[jax.Array, jax.Array], jax.Array]


def measures_at_levels(batch: PackedBatch, loss: Loss) -> dict[str, jax.Array]:
    """The measures above by name, B M each.

    loss(levels, by): losses B M of the clips at levels B M, where each has the caption of the clip
    `by` places before it in its row.
    """
    tokens = clip_tokens(batch)
    fixed = [(jnp.full_like(tokens, level), by) for level in LEVELS for by in (0, 1)]
    window = [(shift(jnp.float32(u), tokens, 1), by) for u in WINDOW for by in range(OTHERS + 1)]
    levels, shifts = zip(*fixed, *window)
    # One after the other: one compiled forward pass, and memory for one.
    losses = jax.lax.map(lambda x: loss(*x), (jnp.stack(levels), jnp.array(shifts)))
    measures: dict[str, jax.Array] = {}
    for level, (own, other) in zip(LEVELS, _pairs(losses[: len(fixed)])):
        measures |= {f"loss_at_{level}": own, f"caption_gain_at_{level}": other - own}
    mean = losses[len(fixed) :].reshape(len(WINDOW), OTHERS + 1, *tokens.shape).mean(0)
    return measures | _accuracy(mean, different_captions(batch))


def different_captions(batch: PackedBatch) -> jax.Array:
    """Whether the caption of the clip 1, ..., OTHERS places before is another text: OTHERS B M.

    It is not where the row has fewer clips, so that the place is a clip's own or was there before.
    """
    valid, slots = batch.valid, batch.valid.shape[1]
    one_hot = jax.nn.one_hot(batch.text_segment_ids - 1, slots)
    prints = to_slots(one_hot, _token_prints(batch.text_ids, batch.text_positions))  # B M 3
    own_ids = jnp.broadcast_to(1 + jnp.arange(slots), valid.shape)
    texts = [
        jnp.einsum("bmn,bnp->bmp", jax.nn.one_hot(rotated - 1, slots), prints, precision="highest")
        for rotated in (rotate_captions(valid, own_ids, by) for by in range(OTHERS + 1))
    ]
    same = lambda a, b: (jnp.abs(a - b) < 0.5).all(-1)
    # Two of the others may have one text; it is counted once.
    return jnp.stack(
        [
            ~jnp.stack([same(texts[i], earlier) for earlier in texts[:i]]).any(0)
            for i in range(1, OTHERS + 1)
        ]
    )


def _token_prints(ids: jax.Array, positions: jax.Array) -> jax.Array:
    """Three hashes of each token and its position in its caption: B S 3, whole numbers.

    Below 2^12, so that the sum of 4096 of them is exact in float32.
    """
    mixed = ids.astype(jnp.uint32) * jnp.uint32(2654435761)
    mixed = (mixed ^ (mixed >> 15)) + positions.astype(jnp.uint32) * jnp.uint32(2246822519)
    hashes = []
    for factor in (3266489917, 668265263, 374761393):
        mixed = (mixed ^ (mixed >> 13)) * jnp.uint32(factor)
        hashes.append(mixed >> 20)
    return jnp.stack(hashes, axis=-1).astype(jnp.float32)


def _accuracy(losses: jax.Array, different: jax.Array) -> dict[str, jax.Array]:
    """losses: OTHERS + 1 B M, the own caption's first; different: OTHERS B M."""
    wins = (losses[0] < losses[1:]) | ~different
    return {
        "caption_accuracy": wins.all(0).astype(jnp.float32),
        "caption_chance": 1 / (1 + different.sum(0).astype(jnp.float32)),
    }


def _pairs(x: jax.Array) -> jax.Array:
    return x.reshape(-1, 2, *x.shape[1:])
