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

        pending: what earlier steps return; a profile is of whole steps, so it waits for them.
        """
        if not self._active:
            return
        request, ends = self._workdir / REQUEST, step == self._stop
        begins = (ends or self._stop is None) and request.exists()
        if ends or begins:
            jax.block_until_ready(list(pending))  # which knows lists, and no deques
        if ends:
            self.close()
        if begins:
            self._begin(step, request)

    def close(self) -> None:
        """Ends a profile that has begun."""
        if self._stop is not None:
            jax.profiler.stop_trace()
            self._stop = None
            logger.info("profile written")

    def _begin(self, step: int, request: Path) -> None:
        text = request.read_text().strip()
        request.unlink()
        steps = int(text) if text.isdigit() and int(text) else STEPS
        folder = self._workdir / FOLDER / str(step)
        try:
            jax.profiler.start_trace(str(folder))
        except RuntimeError as error:
            logger.warning("no profile: %s", error)
            return
        self._stop = step + steps
        logger.info("profiling %d steps after step %d into %s", steps, step, folder)
