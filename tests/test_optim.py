import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from packs import tiny_config

from videodit.config import OptimConfig
from videodit.models.dit import make_dit
from videodit.optim import clip_by_group, make_optimizer, make_schedule
from videodit.parameters import ALL, ParameterGroup, by_group
from videodit.sharding import HOST, abstract, spec
from videodit.tasks.autoencoder import AutoencoderTask
from videodit.tasks.diffusion import DiffusionTask


def decay_mask(params, groups):
    return by_group(lambda path, group: group.decays(path), params, groups)


def test_schedule_warms_up_and_decays_to_its_fraction():
    schedule = make_schedule(OptimConfig(learning_rate=2.0, warmup_steps=10), 100)
    at = [float(schedule(step)) for step in (0, 5, 10, 55, 100)]
    np.testing.assert_allclose(at, [0.2, 1.1, 2, (2 + 0.2) / 2, 0.2], rtol=1e-5)


@pytest.mark.parametrize("steps, warmup", [(100, 10), (5, 100), (1, 100), (100, 0)])
def test_without_fields_of_its_own_the_decay_lasts_from_the_warm_up_to_the_last_step(steps, warmup):
    cfg = OptimConfig(learning_rate=2.0, warmup_steps=warmup)
    clipped = min(warmup, steps // 2)
    expected = optax.warmup_cosine_decay_schedule(2 / max(clipped, 1), 2.0, clipped, steps, 0.2)
    at = np.arange(steps + 1)
    np.testing.assert_array_equal(make_schedule(cfg, steps)(at), expected(at))


def test_a_constant_phase_does_not_depend_on_the_number_of_steps():
    cfg = OptimConfig(learning_rate=2.0, warmup_steps=10, decay_from=60)
    at = [float(make_schedule(cfg, 100)(step)) for step in (0, 5, 10, 35, 60, 80, 100)]
    np.testing.assert_allclose(at, [0.2, 1.1, 2, 2, 2, 1.1, 0.2], rtol=1e-5)
    before = np.arange(61)
    np.testing.assert_array_equal(*(make_schedule(cfg, n)(before) for n in (60, 1000)))


def test_a_decay_with_an_end_does_not_depend_on_the_number_of_steps():
    cfg = OptimConfig(learning_rate=2.0, warmup_steps=10, decay_to=100)
    short, long = (make_schedule(cfg, steps) for steps in (100, 300))
    plain = make_schedule(OptimConfig(learning_rate=2.0, warmup_steps=10), 100)
    before = np.arange(101)
    for schedule in (short, long):
        np.testing.assert_array_equal(schedule(before), plain(before))
    np.testing.assert_allclose(long(np.array([100, 200, 300])), 0.2, rtol=1e-6)


def test_only_matrices_decay():
    cfg = tiny_config()
    init, _ = make_dit(cfg.dit, 16, 32, cfg.compute)
    mask = decay_mask(jax.eval_shape(init, jax.random.key(0)), DiffusionTask.groups)
    flat = {
        jax.tree_util.keystr(p, simple=True, separator="/"): m
        for p, m in jax.tree_util.tree_leaves_with_path(mask)
    }
    assert flat["stack/blocks/mlp/up/kernel"] and flat["embed/kernel"]
    assert not flat["embed/bias"] and not flat["stack/blocks/attention/query_norm/scale"]


def test_a_linear_path_and_a_discriminator_do_not_decay():
    dense = {"kernel": jnp.ones((2, 2))}
    params = {"encoder": {"embed": dense, "linear": dense}, "discriminator": dense}
    mask = decay_mask(params, AutoencoderTask.groups)
    keep = {"kernel": False}
    assert mask == {"encoder": {"embed": {"kernel": True}, "linear": keep}, "discriminator": keep}


def test_first_step_is_adam_on_clipped_gradients_with_decay():
    # After one step Adam's update is g / |g| = sign(g), whatever the clipping.
    cfg = OptimConfig(learning_rate=0.1, warmup_steps=0, weight_decay=0.5, clip_norm=1e-3)
    optimizer = make_optimizer(cfg, lambda step: 0.1, ALL)
    params = {"kernel": jnp.array([[2.0, -3.0]]), "bias": jnp.array([1.0])}
    grads = {"kernel": jnp.array([[4.0, -9.0]]), "bias": jnp.array([100.0])}
    updates, _ = optimizer.update(grads, optimizer.init(params), params)
    np.testing.assert_allclose(updates["bias"], [-0.1], rtol=1e-2)
    np.testing.assert_allclose(updates["kernel"], [[-0.1 - 0.1, 0.1 + 0.15]], rtol=1e-2)


def test_a_discriminators_gradients_are_clipped_on_their_own():
    clip = clip_by_group(1.0, AutoencoderTask.groups)
    gradients = {
        "encoder": jnp.array([3.0, 4.0]),
        "discriminator": {"head": jnp.array([0.0, 60.0])},
    }
    got, _ = clip.update(gradients, clip.init(gradients))
    np.testing.assert_allclose(got["encoder"], [0.6, 0.8], rtol=1e-6)
    np.testing.assert_allclose(got["discriminator"]["head"], [0, 1], rtol=1e-6)
    alone, _ = clip.update({"dit": jnp.array([0.3, 0.4])}, optax.EmptyState())
    np.testing.assert_allclose(alone["dit"], [0.3, 0.4], rtol=1e-6)


def test_groups_are_updated_each_by_its_own_optimizer():
    groups = (
        ParameterGroup("gate", lambda path: path[0] == "gate", optimizer="sgd"),
        ParameterGroup("rest"),
    )
    cfg = OptimConfig(weight_decay=0.5, clip_norm=1.0)
    optimizer = make_optimizer(cfg, lambda step: 0.1, groups)
    params = {"gate": jnp.array([2.0]), "dense": {"kernel": jnp.array([[2.0, -3.0]])}}
    grads = {"gate": jnp.array([0.5]), "dense": {"kernel": jnp.array([[40.0, -90.0]])}}
    updates, state = optimizer.update(grads, optimizer.init(params), params)
    np.testing.assert_allclose(updates["gate"], [-0.05], rtol=1e-6)  # of its own norm, not decayed
    np.testing.assert_allclose(updates["dense"]["kernel"], [[-0.1 - 0.1, 0.1 + 0.15]], rtol=1e-2)
    moments = [x for x in jax.tree.leaves(state) if x.ndim]
    assert [x.shape for x in moments] == [(1, 2), (1, 2)]  # of the kernel alone


def test_a_state_on_the_host_makes_the_same_updates(mesh):
    def train(memory):
        optimizer = make_optimizer(OptimConfig(memory=memory), lambda step: 0.1, ALL)
        make = lambda: {"kernel": jnp.ones((16, 4), out_sharding=spec("embed", None))}

        @jax.jit
        def step(params, state):
            grads = jax.tree.map(jnp.sin, params)
            updates, state = optimizer.update(grads, state, params)
            return optax.apply_updates(params, updates), state

        params = jax.jit(make)()
        target, state = abstract(optimizer.init, params), jax.jit(optimizer.init)(params)
        for _ in range(3):
            jax.tree.map(
                lambda x, y: np.testing.assert_equal(x.sharding, y.sharding), target, state
            )
            params, state = step(params, state)
        kinds = {x.sharding.memory_kind for x in jax.tree.leaves(state) if x.ndim}
        return jax.device_get(params["kernel"]), kinds

    with mesh(fsdp=8):
        (expected, _), (got, kinds) = train("device"), train("host")
    assert kinds == {HOST}
    np.testing.assert_array_equal(expected, got)
