"""What a resumed run may change: refused where its checkpoints would not fit, else told."""

import json
import logging
import math
from pathlib import Path

from videodit.config import Config, check, differences, from_saved, to_dict, to_json
from videodit.optim import make_schedule

logger = logging.getLogger(__name__)


def check_state(cfg: Config, trained: Config, workdir: Path) -> None:
    """Raises ConfigError if checkpoints of a run with the config `trained` hold another state."""
    for name in ("matrices", "power_averages"):
        old, new = (getattr(c.optim, name) for c in (trained, cfg))
        check(old == new, f"optim.{name}", new, f"{old!r}, as the checkpoints in {workdir} have it")


def tell_changes(cfg: Config, trained: Config, step: int) -> None:
    """Logs in one line what differs from the config `trained`, which a run had until `step` steps.

    If the learning rate of the next step changes too, the line says from what to what.
    """
    own = from_saved(json.loads(to_json(cfg)))  # without the sections of other tasks
    found = differences(trained, own, tuple(to_dict(own)))
    old, new = (float(make_schedule(c.optim, c.steps)(step)) for c in (trained, cfg))
    if not math.isclose(old, new, rel_tol=1e-6):
        found.append(f"learning rate now: {old:.4g}, {new:.4g}")
        if trained.steps != cfg.steps:
            found[-1] += " (optim.decay_from and optim.decay_to keep it: docs/training.md)"
    if found:
        logger.warning(
            "the config has changed since the run stopped (then, now): %s", "; ".join(found)
        )
