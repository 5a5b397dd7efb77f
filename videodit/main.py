"""python -m videodit.main --config=configs/dit_xl.py --workdir=DIR [--config.FIELD=VALUE ...]"""

import logging
import sys

from absl import flags
from absl import logging as absl_logging

from videodit.command_line import config_from_flags, parse_flags
from videodit.entry import run_command

flags.DEFINE_string("workdir", None, "Folder of the run: checkpoints, metrics, samples.")


def main(_: list[str]) -> None:
    """Trains the configured run. Exit status: 2 for a user's error, 143 after SIGTERM."""
    absl_logging.set_verbosity(absl_logging.WARNING)  # libraries
    logging.getLogger("videodit").setLevel(logging.INFO)
    try:
        cfg = config_from_flags()
        from videodit.sharding import join_processes  # imports jax, which takes a second

        join_processes(cfg.mesh)
        from videodit.preemption import STATUS, Preempted
        from videodit.train import train

        try:
            train(cfg, flags.FLAGS.workdir)
        except Preempted as stop:
            print(stop, file=sys.stderr)
            sys.exit(STATUS)
    except KeyboardInterrupt:
        sys.exit("stopped; the same command resumes from the newest checkpoint")


if __name__ == "__main__":
    flags.mark_flags_as_required(["config", "workdir"])
    run_command(main, parse_flags)
