"""Optimizers, the schedule of the learning rate, and clipping by groups."""

from collections.abc import Callable
from typing import Any

import jax
import optax

from videodit.config import OptimConfig, check
from videodit.muon import is_stacked_matrix, scale_by_muon
from videodit.parameters import Groups, ParameterGroup, Params, Path, by_group, choose
from videodit.sharding import HOST, to_device, to_host

Mask = Callable[[Params], Params]  # a tree of bools of a tree of parameters


def make_schedule(cfg: OptimConfig, steps: int) -> optax.Schedule:
    """Linear warm-up, not from 0; a constant phase; cosine decay to `final_fraction`, which stays.

    The decay lasts from `decay_from`, or the end of the warm-up, to `decay_to`, or `steps`. With a
    constant phase this is warmup-stable-decay (WSD, arXiv:2404.06395).
    """
    end = cfg.decay_to or steps
    warmup = min(cfg.warmup_steps, cfg.decay_from or end // 2)
    start = max(warmup, cfg.decay_from)
    first = cfg.learning_rate / max(warmup, 1)
    warm = optax.linear_schedule(first, cfg.learning_rate, warmup)
    decay = optax.cosine_decay_schedule(cfg.learning_rate, max(end - start, 1), cfg.final_fraction)
    phases = [warm, optax.constant_schedule(cfg.learning_rate), decay]
    return optax.join_schedules(phases, [warmup, start])


def adamw(cfg: OptimConfig, schedule: optax.Schedule, decays: Mask) -> optax.GradientTransformation:
    """AdamW (arXiv:1711.05101); weight decay applies where `decays` says."""
    return optax.adamw(schedule, cfg.b1, cfg.b2, weight_decay=cfg.weight_decay, mask=decays)


def muon(cfg: OptimConfig, schedule: optax.Schedule, decays: Mask) -> optax.GradientTransformation:
    """Muon (videodit/muon.py) with decoupled weight decay; only for stacked matrices."""
    decay = optax.add_decayed_weights(cfg.weight_decay, decays)
    return optax.chain(scale_by_muon(), decay, optax.scale_by_learning_rate(schedule))


def sgd(cfg: OptimConfig, schedule: optax.Schedule, decays: Mask) -> optax.GradientTransformation:
    """Gradient descent with decoupled weight decay, for parameters that need no momentum."""
    decay = optax.add_decayed_weights(cfg.weight_decay, decays)
    return optax.chain(decay, optax.scale_by_learning_rate(schedule))


OPTIMIZERS = {"adamw": adamw, "muon": muon, "sgd": sgd}


def make_optimizer(
    cfg: OptimConfig, schedule: optax.Schedule, groups: Groups
) -> optax.GradientTransformationExtraArgs:
    """The optimizer of the parameters of all groups; its state is sharded like the parameters.

    The state changes only if `sound`, a bool scalar that its update takes, is true. Raises
    ConfigError where optim.memory asks for memory that devices do not share with hosts.
    """
    decays = lambda params: by_group(lambda path, group: group.decays(path), params, groups)

    def name_of(path: Path, group: ParameterGroup) -> str:
        chosen = group.optimizer == "adamw" and is_stacked_matrix(path)
        return cfg.matrices if chosen else group.optimizer

    names = sorted({group.optimizer for group in groups})
    names += ["muon"] if cfg.matrices == "muon" and "adamw" in names else []
    updates = {name: OPTIMIZERS[name](cfg, schedule, decays) for name in names}
    labels = lambda params: by_group(name_of, params, groups)
    # One optimizer alone keeps a state without labels, as checkpoints have it.
    update = updates[names[0]] if len(names) == 1 else optax.partition(updates, labels)
    optimizer = guarded(optax.chain(clip_by_group(cfg.clip_norm, groups), update))
    return offloaded(optimizer) if cfg.memory == "host" else optimizer


def clip_by_group(clip_norm: float, groups: Groups) -> optax.GradientTransformation:
    """Scales the gradients of each group so that their common norm is at most `clip_norm`."""
    clip = optax.clip_by_global_norm(clip_norm)

    def update(gradients: Params, params: Params | None = None) -> Params:
        names = jax.tree.leaves(by_group(lambda path, group: group.name, gradients, groups))
        leaves, tree = jax.tree.flatten(gradients)
        for name in dict.fromkeys(names):
            places = [i for i, other in enumerate(names) if other == name]
            clipped, _ = clip.update([leaves[i] for i in places], optax.EmptyState())
            for i, gradient in zip(places, clipped):
                leaves[i] = gradient
        return jax.tree.unflatten(tree, leaves)

    return optax.stateless(update)


def guarded(optimizer: optax.GradientTransformation) -> optax.GradientTransformationExtraArgs:
    """`optimizer` whose state changes only if `sound` (bool scalar) is true."""

    def update(
        gradients: optax.Updates,
        state: optax.OptState,
        params: optax.Params | None = None,
        *,
        sound: jax.Array | bool = True,
    ) -> tuple[optax.Updates, optax.OptState]:
        updates, new = optimizer.update(gradients, state, params)
        return updates, choose(sound, new, state)

    return optax.GradientTransformationExtraArgs(optimizer.init, update)


def offloaded(
    optimizer: optax.GradientTransformationExtraArgs,
) -> optax.GradientTransformationExtraArgs:
    """`optimizer` with its state in host memory between updates; under jit only."""
    device = jax.local_devices()[0]
    there = any(memory.kind == HOST for memory in device.addressable_memories())
    expected = f"'device': {device.platform} devices have no {HOST} memory"
    check(there, "optim.memory", "host", expected)

    def update(
        gradients: optax.Updates,
        state: optax.OptState,
        params: optax.Params | None = None,
        **extra: Any,
    ) -> tuple[optax.Updates, optax.OptState]:
        updates, state = optimizer.update(gradients, to_device(state), params, **extra)
        return updates, to_host(state)

    init = lambda params: to_host(optimizer.init(params))
    return optax.GradientTransformationExtraArgs(init, update)
