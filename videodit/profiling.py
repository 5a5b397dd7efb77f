"""A profile of a run on demand: `echo 5 > WORKDIR/profile` traces its next 5 steps.

Process 0 writes the profile to WORKDIR/profiles/STEP, for TensorBoard or XProf. The run continues
and recompiles nothing.
"""

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jax

REQUEST = "profile"  # in the workdir; its content is a number of steps
FOLDER = "profiles"
STEPS = 3  # number of steps if the file contains none

logger = logging.getLogger(__name__)


class Profiler:
    """Looks for a request before each step, on process 0 only."""

    def __init__(self, workdir: Path) -> None:
        self._workdir, self._active = Path(workdir), jax.process_index() == 0
        self._stop: int | None = None  # the running profile ends before this step

    def before(self, step: int, pending: Iterable[Any]) -> None:
        """Begins or ends a profile after `step` steps, before the next one.

        pending: the results of earlier steps. A profile waits for them, so it holds whole steps.
        """
        if not self._active:
            return
        request, ends = self._workdir / REQUEST, step == self._stop
        begins = (ends or self._stop is None) and request.is_file()
        if ends or begins:
            jax.block_until_ready(list(pending))  # it does not accept a deque
        if ends:
            self.close()
        if begins:
            self._begin(step, request)

    def close(self) -> None:
        """Ends the running profile, if there is one."""
        if self._stop is not None:
            jax.profiler.stop_trace()
            self._stop = None
            logger.info("profile written")

    def _begin(self, step: int, request: Path) -> None:
        text = request.read_bytes()[:9].strip()
        request.unlink()
        steps = int(text) if text.isdigit() and int(text) else STEPS  # bytes: ASCII digits only
        folder = self._workdir / FOLDER / str(step)
        try:
            jax.profiler.start_trace(str(folder))
        except RuntimeError as error:
            logger.warning("no profile: %s", error)
            return
        self._stop = step + steps
        logger.info("profiling %d steps after step %d into %s", steps, step, folder)
