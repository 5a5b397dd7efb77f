"""AdamW with warm-up, cosine decay, clipping, and weight decay on matrices only."""

import jax
import optax

from videodit.config import OptimConfig


def make_schedule(cfg: OptimConfig, steps: int) -> optax.Schedule:
    """Linear warm-up to the learning rate, not from 0, then cosine decay to `final_fraction`."""
    warmup = min(cfg.warmup_steps, steps // 2)
    final = cfg.learning_rate * cfg.final_fraction
    first = cfg.learning_rate / max(warmup, 1)
    return optax.warmup_cosine_decay_schedule(first, cfg.learning_rate, warmup, steps, final)


def decay_mask(params):
    """True for the matrices of dense layers; biases, norms and offsets do not decay, nor does an
    autoencoder's linear path, which may be fixed to the PCA.
    """

    def decays(path, _):
        names = [entry.key for entry in path]
        return names[-1] == "kernel" and "linear" not in names

    return jax.tree_util.tree_map_with_path(decays, params)


def make_optimizer(cfg: OptimConfig, schedule: optax.Schedule) -> optax.GradientTransformation:
    """The configured optimizer; its state is sharded like the parameters."""
    adamw = optax.adamw(schedule, cfg.b1, cfg.b2, weight_decay=cfg.weight_decay, mask=decay_mask)
    return optax.chain(optax.clip_by_global_norm(cfg.clip_norm), adamw)
