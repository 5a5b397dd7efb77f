"""AdamW with warm-up, cosine decay, clipping, and weight decay on matrices only."""

import jax
import optax

from videodit.config import OptimConfig, check
from videodit.models.discriminator import NAME, without_discriminator
from videodit.sharding import HOST, to_device, to_host


def make_schedule(cfg: OptimConfig, steps: int) -> optax.Schedule:
    """Linear warm-up to the learning rate, not from 0, then cosine decay to `final_fraction`."""
    warmup = min(cfg.warmup_steps, steps // 2)
    final = cfg.learning_rate * cfg.final_fraction
    first = cfg.learning_rate / max(warmup, 1)
    return optax.warmup_cosine_decay_schedule(first, cfg.learning_rate, warmup, steps, final)


def decay_mask(params):
    """True for the matrices of dense layers; biases, norms and offsets do not decay, nor does an
    autoencoder's linear path, which may be fixed to the PCA, nor a discriminator, which may rest.
    """

    def decays(path, _):
        names = [entry.key for entry in path]
        return names[-1] == "kernel" and "linear" not in names and NAME not in names

    return jax.tree_util.tree_map_with_path(decays, params)


def make_optimizer(cfg: OptimConfig, schedule: optax.Schedule) -> optax.GradientTransformation:
    """The configured optimizer; its state is sharded like the parameters.

    Raises ConfigError where optim.memory asks for memory that devices do not share with hosts.
    """
    adamw = optax.adamw(schedule, cfg.b1, cfg.b2, weight_decay=cfg.weight_decay, mask=decay_mask)
    optimizer = optax.chain(clip_players(cfg.clip_norm), adamw)
    return offloaded(optimizer) if cfg.memory == "host" else optimizer


def offloaded(optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
    """`optimizer`, under jit only, whose state waits in the memory of hosts between updates."""
    device = jax.local_devices()[0]
    there = any(memory.kind == HOST for memory in device.addressable_memories())
    expected = f"'device': {device.platform} devices have no {HOST} memory"
    check(there, "optim.memory", "host", expected)

    def update(gradients, state, params=None):
        updates, state = optimizer.update(gradients, to_device(state), params)
        return updates, to_host(state)

    return optax.GradientTransformation(lambda params: to_host(optimizer.init(params)), update)


def clip_players(clip_norm: float) -> optax.GradientTransformation:
    """Clips the norm of all gradients, but those of a discriminator on their own."""
    clip = optax.clip_by_global_norm(clip_norm)

    def update(gradients, params=None):
        others = without_discriminator(gradients)
        adversary = {NAME: gradients[NAME]} if NAME in gradients else {}
        parts = [clip.update(part, optax.EmptyState())[0] for part in (others, adversary)]
        return parts[0] | parts[1]

    return optax.stateless(update)
