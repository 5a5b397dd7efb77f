"""What the training loop asks of a task, and what a task hands back to be looked at."""

from collections.abc import Iterable
from typing import NamedTuple, Protocol

import numpy as np

from videodit.data.packing import PackedBatch
from videodit.flops import Clips, Flops


class Drawing(NamedTuple):
    """A clip to look at, made during an evaluation."""

    name: str
    frames: np.ndarray  # T H W 3 uint8
    fps: float
    caption: str
    role: str  # "original", "reconstruction" or "sample"
    clip: str  # pairs an original with its reconstruction


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

    def draw(self, params, frozen, batch: PackedBatch) -> list[Drawing]:
        """Clips to look at."""

    def finish(self, params, frozen, batches: Iterable[PackedBatch], workdir) -> None:
        """Writes what later stages need of the trained model."""
