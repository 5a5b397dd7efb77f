"""Small random clips, packs of them, and tiny models with every gate open, for the tests."""

import math

import jax
import numpy as np

from videodit.config import Config, from_config_dict
from videodit.data.loader import place
from videodit.data.packing import PackedBatch, empty_batch, pack_row, row_of, segment
from videodit.inference.codec import Codec
from videodit.models.autoencoder import make_autoencoder

PATCH = (4, 8, 8)
SHAPES = ((9, 24, 16), (1, 32, 32), (5, 16, 40), (5, 8, 8), (1, 16, 24))  # frames, height, width


def tiny_config(task="diffusion", **changes) -> Config:
    """A smoke configuration in float32, with `changes` to its ConfigDict as a__b=value."""
    from configs import demo_autoencoder, dit_xl

    config = (dit_xl if task == "diffusion" else demo_autoencoder).get_config("smoke")
    for name, value in changes.items():
        config.update_from_flattened_dict({name.replace("__", "."): value})
    return from_config_dict(config)


def clip(i: int, seed: int = 0, given=None):
    """Clip number i of random pixels, as a segment with a caption of 3 + i random tokens."""
    rng = np.random.default_rng((seed, i))
    frames = rng.integers(0, 256, (*SHAPES[i % len(SHAPES)], 3), np.uint8)
    words = rng.integers(3, 40, 3 + i)
    return segment(
        frames,
        patch=PATCH,
        fps=8.0 + i,
        text_ids=words,
        sample_id=100 + i,
        clip_id=i,
        given=given,
    )


def pack(rows, *, row_tokens=96, text_tokens=32, max_segments=6) -> PackedBatch:
    """A batch of rows, each a list of segments, on the current mesh if there is one."""
    batch = empty_batch(
        len(rows),
        3 * math.prod(PATCH),
        row_tokens=row_tokens,
        text_tokens=text_tokens,
        max_segments=max_segments,
    )
    for b, row in enumerate(rows):
        pack_row(row, row_of(batch, b), patch=PATCH)
    return place(batch)


def perturb(params, scale=0.1, seed=7):
    """Parameters with random values added, so that zero-initialised gates are open."""
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(seed), len(leaves))
    noise = [np.asarray(scale * jax.random.normal(k, x.shape)) for k, x in zip(keys, leaves)]
    noise = [jax.device_put(n, x.sharding) for n, x in zip(noise, leaves)]
    return jax.tree.unflatten(tree, [x + n for x, n in zip(leaves, noise)])


def linear_codec() -> Codec:
    """A tiny autoencoder of random weights without its stacks: its linear path."""
    cfg = tiny_config("autoencoder")
    init, _ = make_autoencoder(cfg.autoencoder, cfg.compute)
    params = perturb(init(jax.random.key(0)))
    zeros = jax.tree.map(np.zeros_like, params)
    params = {name: zeros[name] | {"linear": params[name]["linear"]} for name in params}
    return Codec(cfg.autoencoder, cfg.compute, params)


def distance(a, b) -> float:
    """The largest relative distance of two trees' leaves: norm of the difference over norm."""
    norm = lambda x: np.linalg.norm(np.asarray(x, np.float64))
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b))
    relative = [norm(np.asarray(x) - np.asarray(y)) / max(norm(x), 1e-12) for x, y in pairs]
    return float(np.max(relative))  # NaN if any is
