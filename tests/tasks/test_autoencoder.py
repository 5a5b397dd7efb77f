import jax
import numpy as np
from packs import clip, pack, tiny_config

from videodit.optim import make_optimizer, make_schedule
from videodit.step import make_init, make_train_step
from videodit.tasks.autoencoder import AutoencoderTask


def test_training_leaves_the_pca_as_it_is_and_changes_all_else():
    cfg = tiny_config("autoencoder", optim__weight_decay=0.5)
    task, batch = AutoencoderTask(cfg), pack([[clip(0), clip(1)], [clip(2)]])
    schedule = make_schedule(cfg.optim, 10)
    optimizer = make_optimizer(cfg.optim, schedule, task.groups)
    frozen = task.make_frozen([batch])
    state = make_init(task, optimizer)(jax.random.key(0), frozen)
    before = jax.device_get(state["params"])
    step = make_train_step(task, optimizer, schedule, cfg.optim)
    for _ in range(2):  # the heads start at zero: what is below them moves at the second step
        state, _ = step(state, frozen, batch, jax.random.key(0))
    after = jax.device_get(state["params"])
    for half in ("encoder", "decoder"):
        jax.tree.map(np.testing.assert_array_equal, before[half]["linear"], after[half]["linear"])
        rest = lambda params, half=half: [params[half][k] for k in ("embed", "stack", "head")]
        for a, b in zip(jax.tree.leaves(rest(before)), jax.tree.leaves(rest(after))):
            assert (a != b).any()


def test_originals_are_drawn_beside_their_reconstructions():
    cfg = tiny_config("autoencoder")
    task, batch = AutoencoderTask(cfg), pack([[clip(0), clip(1)], [clip(2)]])
    frozen = task.make_frozen([batch])
    drawings = task.draw(task.init(jax.random.key(0), frozen), frozen, batch)
    assert [d.role for d in drawings] == ["original", "reconstruction"] * 3
    longest = drawings[0]
    assert longest.frames.shape == (9, 24, 16, 3) and longest.fps == 8
    corner = clip(0).frames[0, :8, :8]
    np.testing.assert_array_equal(longest.frames[0, :8, :8], corner)
