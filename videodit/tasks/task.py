"""What the training loop asks of a task, and what a task hands back to be looked at."""

from collections.abc import Iterable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import numpy as np

from videodit.data.packing import PackedBatch
from videodit.diffusion.samplers import Velocity
from videodit.flops import Clips, Flops


class Drawing(NamedTuple):
    """A clip to look at, made during an evaluation."""

    name: str
    frames: np.ndarray  # T H W 3 uint8
    fps: float
    caption: str
    role: str  # "original", "reconstruction" or "sample"
    clip: str  # pairs an original with its reconstruction


class Sampler(Protocol):
    """What draws the configured samples with the weights of the moment: an inference Pipeline."""

    def drawings(self) -> list[Drawing]:
        """A sample of each configured prompt."""
        ...


@runtime_checkable
class Generative(Protocol):
    """A task whose model makes clips: noise is integrated along a velocity and decoded."""

    channels: int  # of a latent

    def velocity(self, params: Any, batch: PackedBatch, dropped: jax.Array) -> Velocity:
        """The velocity of the clips of a batch, of those in `dropped` (B M) without caption."""
        ...

    def encode(self, frozen: Any, batch: PackedBatch) -> jax.Array:
        """Latents B L C float32 of a batch's tokens; those of given tokens depend on no others."""
        ...

    def decode(self, frozen: Any, latents: jax.Array, batch: PackedBatch) -> jax.Array:
        """Pixels B L P float32 in about [-1, 1] of latents B L C."""
        ...


class Task(Protocol):
    """One objective. Arrays live on the current mesh; `frozen` is what is used but not trained.

    A loss is a sum over tokens with weights that add up to 1 over the global batch, so it is the
    same under gradient accumulation.
    """

    def make_frozen(self, batches: Iterable[PackedBatch]):
        """Arrays that the loss needs and that are not trained; may look at training batches."""

    def digest(self, frozen) -> str:
        """Of the frozen arrays that trained weights are of no use without; "": of none."""

    def init(self, key, frozen):
        """float32 parameters as nested dicts, sharded from birth."""

    def weights(self, batch: PackedBatch):
        """Weights B L of the tokens in the loss, adding up to 1 over the global batch."""

    def flops(self, clips: Clips, step: int) -> Flops:
        """Of the training step over `clips` that follows after `step` steps."""

    def loss(self, params, frozen, batch: PackedBatch, weights, key, step):
        """The weighted loss (a scalar) and further weighted sums to report, by name.

        step: int32 scalar, the steps trained so far.
        """

    def evaluate(self, params, frozen, batch: PackedBatch, key):
        """Measures of each clip, B M float32 by name; averaged over held-out clips."""

    def draw(self, params, frozen, batch: PackedBatch, sampler: Sampler | None) -> list[Drawing]:
        """Clips to look at; `sampler` is there if the task is `Generative`."""

    def finish(self, params, frozen, batches: Iterable[PackedBatch], workdir) -> None:
        """Writes what later stages need of the trained model."""
