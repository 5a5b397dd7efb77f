"""AdamW with warm-up, cosine decay, clipping, and weight decay on matrices only."""

import jax
import optax

from videodit.config import OptimConfig


def make_schedule(cfg: OptimConfig, steps: int) -> optax.Schedule:
    """Linear warm-up to the learning rate, then cosine decay to `final_fraction` of it."""
    warmup = min(cfg.warmup_steps, steps // 2)
    final = cfg.learning_rate * cfg.final_fraction
    return optax.warmup_cosine_decay_schedule(0.0, cfg.learning_rate, warmup, steps, final)


def decay_mask(params):
    """True for the matrices of dense layers; biases, norms, offsets and embeddings do not decay."""
    return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key == "kernel", params)


def make_optimizer(cfg: OptimConfig, schedule: optax.Schedule) -> optax.GradientTransformation:
    """The configured optimizer; its state is sharded like the parameters."""
    adamw = optax.adamw(schedule, cfg.b1, cfg.b2, weight_decay=cfg.weight_decay, mask=decay_mask)
    return optax.chain(optax.clip_by_global_norm(cfg.clip_norm), adamw)
