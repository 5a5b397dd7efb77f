"""A profile of a run on demand: `echo 5 > WORKDIR/profile` traces its next 5 steps.

Process 0 writes it to WORKDIR/profiles/STEP, for TensorBoard or XProf; the run goes on, and nothing
is compiled again.
"""

import logging
from pathlib import Path

import jax

REQUEST = "profile"  # in the workdir; its content is a number of steps
FOLDER = "profiles"
STEPS = 3  # where it has no number

logger = logging.getLogger(__name__)


class Profiler:
    """Looks for the request of a profile before each step; does nothing but on process 0."""

    def __init__(self, workdir: Path):
        self._workdir, self._active = Path(workdir), jax.process_index() == 0
        self._stop = None  # the step before which a profile ends

    def before(self, step: int, pending) -> None:
        """Begins or ends a profile before the step that follows after `step` steps.

        pending: what the steps before return; a profile is of whole steps, so it waits for them.
        """
        if not self._active:
            return
        if step == self._stop:
            self._end(pending)
        request = self._workdir / REQUEST
        if self._stop is None and request.exists():
            self._begin(step, request, pending)

    def close(self) -> None:
        """Ends a profile that has begun."""
        if self._stop is not None:
            self._end(())

    def _begin(self, step, request, pending):
        text = request.read_text().strip()
        request.unlink()
        steps = int(text) if text.isdigit() and int(text) else STEPS
        folder = self._workdir / FOLDER / str(step)
        jax.block_until_ready(pending)
        try:
            jax.profiler.start_trace(str(folder))
        except RuntimeError as error:
            logger.warning("no profile: %s", error)
            return
        self._stop = step + steps
        logger.info("profiling %d steps after step %d into %s", steps, step, folder)

    def _end(self, pending):
        jax.block_until_ready(pending)
        jax.profiler.stop_trace()
        self._stop = None
        logger.info("profile written")
