"""A task of its own in one file, as an engineer would add one: a coder of single patches.

A linear code of each patch is decoded to the patch's difference from the mean patch; a probe reads
the brightness from the code, which only the loss needs.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import nnx

from configs.common import smoke
from videodit.config import TaskConfig, check, check_positive, defaults, from_config_dict
from videodit.diffusion.flow import token_weights
from videodit.flops import StackRun
from videodit.models.autoencoder import patch_values, to_pixels
from videodit.nn.block import StackShape
from videodit.nn.functional import functional
from videodit.nn.layers import Dense
from videodit.parameters import ParameterGroup
from videodit.sharding import abstract_whole, replicate
from videodit.tasks.registry import register
from videodit.tasks.task import Task
from videodit.tasks.views import clip_means

AXES = "batch", "length"


@dataclass(frozen=True)
class ToyConfig:
    """A section of the config."""

    width: int = 8  # values of a code
    probe: float = 0.1  # weight of the probe's error

    def __post_init__(self):
        check_positive(self, "toy", ("width",))


class Coder(nnx.Module):
    """Patches B L P to codes B L width and back."""

    def __init__(self, values, width, *, rngs):
        self.down = Dense(values, width, (None, "embed"), rngs=rngs, bias=True)
        self.up = Dense(width, values, ("embed", None), rngs=rngs, bias=True)

    def __call__(self, x):
        code = self.down(x, *AXES, "act_embed")
        return code, self.up(code, *AXES, None)


class ToyTask(Task):
    """The frozen array is the mean patch of the first training batch."""

    groups = (
        ParameterGroup(
            "probe",
            contains=lambda path: path[0] == "probe",
            decays=lambda path: False,
            averaged=False,
            optimizer="sgd",
        ),
        ParameterGroup("coder"),
    )

    def __init__(self, cfg, tokenizer):
        self.cfg, self.remat, width = cfg.toy, cfg.compute.remat, cfg.toy.width
        (self.shape,) = self.shapes(cfg)
        self.values = patch_values(cfg.autoencoder.patch)
        make = lambda rngs: Coder(self.values, width, rngs=rngs)
        self.init_coder, self.code = functional(make, cfg.compute.dtype)
        self.init_probe, self.probe = functional(
            lambda rngs: Dense(width, 1, (None, None), rngs=rngs), cfg.compute.dtype
        )

    @staticmethod
    def shapes(cfg):
        values = patch_values(cfg.autoencoder.patch)
        return (StackShape(depth=1, width=cfg.toy.width, heads=0, head_size=1, mlp=values),)

    def make_frozen(self, batches):
        batch = next(iter(batches))
        pixels = to_pixels(batch.tokens) * (batch.segment_ids > 0)[..., None]
        return replicate({"mean": jax.device_get(pixels).mean((0, 1))})

    def abstract_frozen(self):
        return {"mean": abstract_whole(self.values)}

    def init(self, key, frozen):
        keys = jax.random.split(key)
        return {"coder": self.init_coder(keys[0]), "probe": self.init_probe(keys[1])}

    def weights(self, batch):
        return token_weights(batch.segment_ids > 0, None, "token")

    def stacks(self, clips, step):
        return [StackRun(self.shape, clips.tokens, 0 * clips.tokens, self.remat)]

    def loss(self, params, frozen, batch, weights, key, step):
        error, code, pixels = self._errors(params, frozen, batch)
        read = self.probe(params["probe"], code, *AXES, None)[..., 0]
        probe = (weights * jnp.square(read - pixels.mean(-1))).sum()
        return (weights * error).sum() + self.cfg.probe * probe, {"probe": probe}

    def evaluate(self, params, frozen, batch, key):
        return {"error": clip_means(batch, self._errors(params, frozen, batch)[0])}

    def _errors(self, params, frozen, batch):
        """Squared error B L, codes B L width, pixels B L P."""
        pixels = to_pixels(batch.tokens)
        code, output = self.code(params["coder"], pixels - frozen["mean"])
        return jnp.square(output + frozen["mean"] - pixels).mean(-1), code, pixels


def _check(cfg):
    check(cfg.data.latents == "", "data.latents", cfg.data.latents, "'' for this task")


register("toy", ToyTask, TaskConfig({"toy": ToyConfig}, model=("toy",), check=_check))


def toy(**changes):
    """A smoke config of the toy task."""
    config = defaults()
    config.task = "toy"
    config = smoke(config)
    config.update(steps=4, save_every=2, eval_every=4, log_every=1)
    config.optim.warmup_steps = 1
    config.update_from_flattened_dict({k.replace("__", "."): v for k, v in changes.items()})
    return from_config_dict(config)
