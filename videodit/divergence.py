"""Follows the losses of a run: skipped updates, sound checkpoints, and when to stop."""

import logging
import math
from itertools import chain

from videodit.checkpoint import Checkpointer
from videodit.data.planning.plan import Plan

NAMED = 8  # clips of a step that a message names
logger = logging.getLogger(__name__)


class Diverged(Exception):
    """The loss or the gradients of a run were not finite for too many steps in a row."""


class DivergenceWatch:
    """Sees the metrics of every step, in their order.

    All processes have the same metrics, so they stop at the same step.
    """

    def __init__(self, most: int, plan: Plan, checkpoints: Checkpointer) -> None:
        """`most`: after so many skipped updates in a row the run stops (optim.max_skipped)."""
        self._most, self._plan, self._checkpoints = most, plan, checkpoints
        self._in_a_row, self._untold = 0, 0

    def update(self, step: int, values: dict[str, float]) -> None:
        """Takes the metrics after `step` steps: loss, grad_norm, skipped. Raises Diverged."""
        if math.isfinite(values["loss"]):
            self._checkpoints.mark_sound(step - 1)  # the loss is that of the parameters before
        if not values["skipped"]:
            self._in_a_row = 0
            return
        self._in_a_row, self._untold = self._in_a_row + 1, self._untold + 1
        numbers = f"loss {values['loss']:g}, gradient norm {values['grad_norm']:g}"
        clips = clip_names(self._plan, step - 1)
        logger.warning("step %d: update skipped: %s; its clips: %s", step, numbers, clips)
        if self._in_a_row == self._most:
            self._checkpoints.close()
            raise Diverged(self._message(step, clips))

    def skipped(self) -> int:
        """How many updates were skipped since the last call."""
        untold, self._untold = self._untold, 0
        return untold

    def _message(self, step: int, clips: str) -> str:
        sound = self._checkpoints.last_sound()
        go_on = f"To go on from it, remove later ones from {sound.parent}." if sound else ""
        return (
            f"stopped after step {step}: the loss or its gradient was not finite in {self._most} "
            f"steps in a row (optim.max_skipped). The clips of this step: {clips}. "
            f"The last sound checkpoint: {sound}. {go_on}".strip()
        )


def clip_names(plan: Plan, step: int) -> str:
    """The names of the clips of a step; if there are many, of some of them."""
    names = [str(plan.catalog.ids[placed.clip]) for placed in chain(*plan.rows(step))]
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
