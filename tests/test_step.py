"""The training step on any mesh and with micro-batches is the step on one device."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from clu.metrics import Average
from packs import clip, distance, pack, perturb, tiny_config
from toy_task import ToyTask

from configs import dit_b, dit_s
from videodit.config import from_config_dict
from videodit.data.sources.source import open_tokenizer
from videodit.forecasting.ahead import shard_bytes
from videodit.optim import make_optimizer
from videodit.sharding import abstract, replicate
from videodit.step import make_eval_step, make_init, make_train_step, merge, summarize
from videodit.tasks.autoencoder import AutoencoderTask
from videodit.tasks.diffusion import DiffusionTask

MESHES = [
    dict(data=2, fsdp=2, tensor=2),
    pytest.param(dict(data=2, ring=2, context=2), marks=pytest.mark.slow),
    pytest.param(dict(fsdp=8), marks=pytest.mark.slow),
    pytest.param(dict(fsdp=2, context=4), marks=pytest.mark.slow),
    pytest.param(dict(fsdp=2, ring=4), marks=pytest.mark.slow),
]
GIVEN = np.zeros((2, 2, 5), bool)
GIVEN[0] = True


def rows():
    """8 rows, some with several clips, one animated, one row empty; rows' parts cut clips."""
    clips = [clip(i)._replace(sample_id=50 + i) for i in range(10)]
    clips[2] = clip(2, given=GIVEN)
    return [
        [clips[0], clips[1]],
        [clips[2]],
        [clips[3], clips[4]],
        [clips[5]],
        [clips[6], clips[7]],
        [clips[8]],
        [clips[9]],
        [],
    ]


def one_step(name, accumulate=1, pca=None, segments=None):
    """Loss, gradients and parameters of one step of plain SGD, and the initial parameters.

    `pca` is what an autoencoder starts from, so that it is the same on every mesh; `segments` of
    each row, or `rows()`.
    """
    cfg = tiny_config(name, autoencoder__window=2)
    task = (
        AutoencoderTask(cfg)
        if name == "autoencoder"
        else DiffusionTask(cfg, open_tokenizer("synthetic"))
    )
    batch, key, optimizer = pack(segments or rows()), jax.random.key(0), optax.sgd(1.0)
    with jax.default_matmul_precision("highest"):
        frozen = task.make_frozen([batch]) if pca is None else replicate(pca)
        state = jax.jit(make_init(task, optimizer))(key, frozen)
        born = jax.device_get(state["params"])
        state["params"] = perturb(state["params"])
        before = jax.device_get(state["params"])
        optim = dataclasses.replace(cfg.optim, accumulate=accumulate)
        step = make_train_step(task, optimizer, optax.constant_schedule(1.0), optim)
        state, metrics = step(state, frozen, batch, key)
    after = jax.device_get(state["params"])
    gradients = jax.tree.map(np.subtract, before, after)  # of SGD with rate 1
    pca = jax.device_get(frozen) if name == "autoencoder" else None
    return {
        "pca": pca,
        "born": born,
        "loss": float(metrics["loss"]),
        "gradients": gradients,
        "after": after,
    }


@pytest.fixture(scope="module", params=["autoencoder", "diffusion"])
def reference(request):
    return request.param, one_step(request.param)


@pytest.mark.parametrize("shape", MESHES)
def test_any_mesh_equals_one_device(mesh, reference, shape):
    name, expected = reference
    with mesh(**shape):
        got = one_step(name, pca=expected["pca"])
    assert got["loss"] == pytest.approx(expected["loss"], rel=1e-4)
    assert distance(expected["gradients"], got["gradients"]) < 1e-4
    assert distance(expected["after"], got["after"]) < 1e-4
    jax.tree.map(np.testing.assert_array_equal, expected["born"], got["born"])


@pytest.mark.parametrize("ways, accumulate", [(1, 4), pytest.param(2, 2, marks=pytest.mark.slow)])
def test_micro_batches_equal_the_whole_batch(mesh, reference, ways, accumulate):
    name, expected = reference
    with mesh(data=ways):
        got = one_step(name, accumulate, expected["pca"])
    assert got["loss"] == pytest.approx(expected["loss"], rel=1e-5)
    assert distance(expected["gradients"], got["gradients"]) < 1e-4


def test_a_batch_without_clips_has_no_loss_and_no_gradient(reference):
    name, whole = reference
    got = one_step(name, pca=whole["pca"], segments=[[], []])
    assert got["loss"] == 0
    assert all(not gradient.any() for gradient in jax.tree.leaves(got["gradients"]))


class Measured:
    """A task that measures the clip's own number."""

    def evaluate(self, params, frozen, batch, key):
        return {"number": batch.clip_ids.astype(np.float32)}


def test_evaluation_averages_over_clips_with_standard_error():
    batches = [pack([[clip(0), clip(1)], [clip(2)]]), pack([[clip(3)], []])]
    eval_step = make_eval_step(Measured().evaluate)
    first, second = (eval_step(None, None, batch, None) for batch in batches)
    values = summarize(merge(first, second))
    numbers = np.arange(4)
    assert values["number"] == pytest.approx(numbers.mean())
    assert values["number_stderr"] == pytest.approx(numbers.std() / 2, rel=1e-5)


def init_of(config):
    """The init of a DiT's whole state."""
    config.data.text_tokens = 4096  # which the plan chooses, from captions
    cfg = from_config_dict(config)
    task = DiffusionTask(cfg, open_tokenizer("synthetic"))
    return make_init(task, make_optimizer(cfg.optim, optax.constant_schedule(1.0), task.groups))


def test_fsdp_shares_out_the_whole_state(mesh):
    """Parameters, optimizer state and average: of n devices each holds 1/n, within 2 %."""
    init = init_of(dit_b.get_config())

    def bytes_of_a_device(ways):
        with mesh(fsdp=ways):
            return shard_bytes(abstract(init, jax.random.key(0), {}))

    whole = bytes_of_a_device(1)
    for ways in (2, 4, 8):
        assert bytes_of_a_device(ways) < 1.02 * whole / ways


def test_the_largest_array_is_never_whole_on_one_device_while_a_state_is_made(mesh):
    init = init_of(dit_s.get_config())
    with mesh(fsdp=8):
        shapes = jax.eval_shape(init, jax.random.key(0), {})
        used = jax.jit(init).lower(jax.random.key(0), {}).compile().memory_analysis()
    largest = max(x.size * x.dtype.itemsize for x in jax.tree.leaves(shapes["params"]))
    assert used.temp_size_in_bytes < largest / 2


class Breaking(ToyTask):
    """Has a loss or a gradient that is not finite at step 1 alone."""

    def __init__(self, cfg, broken):
        super().__init__(cfg, None)
        self.broken = broken

    def loss(self, params, frozen, batch, weights, key, step):
        loss, parts = super().loss(params, frozen, batch, weights, key, step)
        at, zero = step == 1, 0.0 * params["probe"]["kernel"].sum()
        if self.broken == "gradient":  # of sqrt at 0; the loss is finite
            return loss + 0.0 * jnp.sqrt(jnp.where(at, zero, 1.0 + zero)), parts
        return loss + jnp.where(at, {"nan": math.nan, "inf": math.inf}[self.broken], 0.0), parts


KEPT = {"matrices": "muon", "power_averages": (0.05, 0.1)}


@pytest.mark.parametrize(
    "broken, shape, memory",
    [
        ("nan", dict(data=2, fsdp=2, tensor=2), "device"),
        ("inf", dict(fsdp=8), "device"),
        ("gradient", dict(data=2), "device"),
        ("gradient", dict(fsdp=2), "host"),
    ],
)
def test_an_update_of_numbers_that_are_not_finite_is_skipped(mesh, broken, shape, memory):
    """By the same program. The next step is that of a run which had all steps but the skipped."""
    cfg = tiny_config()
    task = Breaking(cfg, broken)
    optim = dataclasses.replace(cfg.optim, memory=memory, **KEPT)
    key, schedule = jax.random.key(0), optax.constant_schedule(1e-3)
    optimizer = make_optimizer(optim, schedule, task.groups)
    with mesh(**shape):
        batch = pack(rows())
        frozen = task.make_frozen([batch])
        init = make_init(task, optimizer, optim.power_averages)
        states, skipped = [jax.jit(init)(key, frozen)], []
        step = make_train_step(task, optimizer, schedule, optim)
        for _ in range(3):
            copy = jax.tree.map(jnp.copy, states[-1])
            state, metrics = step(copy, frozen, batch, key)
            states.append(state)
            skipped.append(int(metrics["skipped"]))
        assert skipped == [0, 1, 0] and step._cache_size() == 1
        before, after = jax.device_get(states[1]), jax.device_get(states[2])
        assert (before.pop("step"), after.pop("step")) == (1, 2)
        jax.tree.map(np.testing.assert_array_equal, before, after)
        unbroken = {**jax.tree.map(jnp.copy, states[1]), "step": states[2]["step"]}
        expected, _ = step(unbroken, frozen, batch, key)
        jax.tree.map(
            np.testing.assert_array_equal, jax.device_get(expected), jax.device_get(states[3])
        )
        assert distance(states[2]["params"], states[3]["params"]) > 0


def test_measures_of_no_clip_are_left_out():
    nothing = Average.from_model_output(jax.numpy.zeros(2), mask=jax.numpy.zeros(2, bool))
    one = Average.from_model_output(jax.numpy.full(2, 3.0))
    measured = {"psnr": (nothing, nothing), "loss": (one, one)}
    assert summarize(measured) == {"loss": 3.0, "loss_stderr": 0.0}
