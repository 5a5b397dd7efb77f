"""python -m videodit.main --config=configs/dit_xl.py --workdir=DIR [--config.FIELD=VALUE ...]"""

import logging

from absl import flags
from absl import logging as absl_logging

from videodit.command_line import config_from_flags, parse_flags
from videodit.config.exits import DIVERGED
from videodit.endings import leave, one_line
from videodit.entry import run_command

flags.DEFINE_string("workdir", None, "Folder of the run: checkpoints, metrics, samples.")


def main(_: list[str]) -> None:
    """Trains the configured run. The exit statuses are in videodit/config/exits.py."""
    absl_logging.set_verbosity(absl_logging.WARNING)  # libraries
    logging.getLogger("videodit").setLevel(logging.INFO)
    workdir = flags.FLAGS.workdir
    with one_line(workdir):
        cfg = config_from_flags()
        from videodit.sharding import join_processes  # imports jax, which takes a second

        join_processes(cfg.mesh)
        from videodit.divergence import Diverged
        from videodit.preemption import Preempted
        from videodit.train import train

        try:
            train(cfg, workdir)
        except Preempted as stop:
            leave(str(stop), stop.status)
        except Diverged as stop:
            leave(f"error: {stop}", DIVERGED)


if __name__ == "__main__":
    flags.mark_flags_as_required(["config", "workdir"])
    run_command(main, parse_flags)
