"""python -m videodit.main --config=configs/dit_xl.py --workdir=DIR [--config.FIELD=VALUE ...]"""

import logging
import sys

from absl import app, flags
from absl import logging as absl_logging

from videodit.command_line import config_from_flags, parse_flags
from videodit.config import ConfigError, refuse

WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run: checkpoints, metrics, samples.")


def main(argv):
    absl_logging.set_verbosity(absl_logging.WARNING)  # libraries
    logging.getLogger("videodit").setLevel(logging.INFO)
    try:
        if len(argv) > 1:
            raise ConfigError(f"unexpected argument {argv[1]!r}: fields are --config.NAME=VALUE")
        cfg = config_from_flags()
        from videodit.sharding import join_processes  # after the flags: jax takes a second

        join_processes(cfg.mesh)
        from videodit.preemption import STATUS, Preempted
        from videodit.train import train

        try:
            train(cfg, WORKDIR.value)
        except Preempted as stop:
            print(stop, file=sys.stderr)
            sys.exit(STATUS)
    except ConfigError as error:
        refuse(error)
    except KeyboardInterrupt:
        sys.exit("stopped; the same command goes on from the newest checkpoint")


if __name__ == "__main__":
    flags.mark_flags_as_required(["config", "workdir"])
    app.run(main, flags_parser=parse_flags)
