"""What the training loop, the optimizer, checkpoints and the planner ask of a task.

A new task is one class that inherits from `Task`, and one call of tasks/registry.py:register.
"""

import os
from collections.abc import Iterable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import numpy as np

from videodit.config import Config
from videodit.data.packing import PackedBatch
from videodit.data.tokenizer import Tokenizer
from videodit.diffusion.samplers import Velocity
from videodit.flops import Clips, Flops, StackRun, total_flops
from videodit.models.protocols import LatentCodec
from videodit.nn.block import StackShape
from videodit.parameters import ALL, Groups, Params

Arrays = Any  # a tree of arrays


class Drawing(NamedTuple):
    """A clip to look at, made during an evaluation."""

    name: str
    frames: np.ndarray  # T H W 3 uint8
    fps: float
    caption: str
    role: str  # "original", "reconstruction" or "sample"
    clip: str  # pairs an original with its reconstruction


class Sampler(Protocol):
    """Draws the configured samples with the current weights: an inference Pipeline."""

    def drawings(self) -> list[Drawing]:
        """A sample of each configured prompt."""
        ...


@runtime_checkable
class Generative(Protocol):
    """A task whose model makes clips: noise is integrated along a velocity and decoded."""

    codec: LatentCodec
    channels: int  # of a latent

    def velocity(
        self, params: Any, frozen: Any, batch: PackedBatch, dropped: jax.Array
    ) -> Velocity:
        """The velocity of the clips of a batch; those in `dropped` (B M) lose their captions."""
        ...

    def encode(self, frozen: Any, batch: PackedBatch) -> jax.Array:
        """Latents B L C float32 of a batch's tokens; those of given tokens depend on no others."""
        ...

    def decode(self, frozen: Any, latents: jax.Array, batch: PackedBatch) -> jax.Array:
        """Pixels B L P float32 in about [-1, 1] of latents B L C, if the codec is packed."""
        ...

    def denormalise(self, frozen: Any, latents: jax.Array) -> jax.Array:
        """Latents B L C as the codec, whose parameters are frozen["autoencoder"], decodes them."""
        ...


def is_generative(task: type) -> bool:
    """Whether the tasks of a class are `Generative`, as far as its methods tell."""
    return all(hasattr(task, name) for name in ("velocity", "encode", "decode", "denormalise"))


class Task(Protocol):
    """One objective. Arrays live on the current mesh; `frozen` is what is used but not trained.

    A loss is a sum over tokens with weights that add up to 1 over the global batch, so it is the
    same under gradient accumulation. What a task does not need it inherits from here.
    """

    groups: Groups = ALL  # of the parameters: clipped together, decayed, in the EMA

    def __init__(self, cfg: Config, tokenizer: Tokenizer) -> None:
        """`cfg`: as tasks/resolve.py gives it. Raises ConfigError for an impossible one."""

    @staticmethod
    def resolve(cfg: Config) -> Config:
        """`cfg` with the fields that its codec and its text encoder decide. Raises ConfigError."""
        return cfg

    @staticmethod
    def shapes(cfg: Config) -> tuple[StackShape, ...]:
        """The shapes of all stacks: meshes share out their widths and heads."""
        return ()

    def check_resume(self, trained: Config, workdir: str | os.PathLike) -> None:
        """Raises ConfigError if the checkpoints in `workdir`, of a run with the config `trained`,
        have other parameters outside of the EMA. config/tasks.py:TaskConfig.model has the rest.
        """
        return None

    def make_frozen(self, batches: Iterable[PackedBatch]) -> Arrays:
        """Arrays that the loss needs and that are not trained; may look at training batches."""
        return {}

    def abstract_frozen(self) -> Arrays:
        """Shapes, dtypes and shardings of the frozen arrays, which are not created."""
        return {}

    def digests(self, frozen: Arrays) -> dict[str, str]:
        """Digests of the frozen arrays that the trained weights depend on.

        The names are those of sections of the config that have a field `workdir`.
        """
        return {}

    def init(self, key: jax.Array, frozen: Arrays) -> Params:
        """float32 parameters as nested dicts, created sharded."""
        ...

    def weights(self, batch: PackedBatch) -> jax.Array:
        """Weights B L of the tokens in the loss, adding up to 1 over the global batch."""
        ...

    def stacks(self, clips: Clips, step: int) -> list[StackRun]:
        """The stacks that training step `step` (from 0) runs over `clips`.

        The first does most of the work.
        """
        ...

    def flops(self, clips: Clips, step: int) -> Flops:
        """FLOPs of training step `step` over `clips`."""
        return total_flops(self.stacks(clips, step))

    def loss(
        self,
        params: Params,
        frozen: Arrays,
        batch: PackedBatch,
        weights: jax.Array,
        key: jax.Array,
        step: jax.Array,
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The weighted loss (a scalar) and further weighted sums to report, by name.

        step: int32 scalar, the steps trained so far.
        """
        ...

    def evaluate(
        self, params: Params, frozen: Arrays, batch: PackedBatch, key: jax.Array
    ) -> dict[str, jax.Array]:
        """Measures of each clip, B M float32 by name; averaged over held-out clips."""
        ...

    def inspect(
        self, params: Params, frozen: Arrays, batch: PackedBatch, key: jax.Array
    ) -> dict[str, jax.Array]:
        """Costly measures of each clip, as those of `evaluate`, for a few batches."""
        return {}

    def draw(
        self, params: Params, frozen: Arrays, batch: PackedBatch, sampler: Sampler | None = None
    ) -> list[Drawing]:
        """Clips to look at; `sampler` is there if the task is `Generative`."""
        return []

    def finish(
        self,
        params: Params,
        frozen: Arrays,
        batches: Iterable[PackedBatch],
        workdir: str | os.PathLike,
    ) -> None:
        """Writes what later stages need of the trained model."""
        return None
