"""python -m videodit.main --config=configs/dit_xl.py --workdir=DIR [--config.FIELD=VALUE ...]"""

import logging
import sys

from absl import app, flags
from absl import logging as absl_logging
from ml_collections import config_flags

from videodit.config import ConfigError, from_config_dict

CONFIG = config_flags.DEFINE_config_file("config", help_string="A file in configs/.")
WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run: checkpoints, metrics, samples.")


def parse_flags(argv):
    """absl's parser; a mistyped field or file of --config is one line, not a traceback."""
    try:
        return app.parse_flags_with_usage(argv)
    except (ConfigError, AttributeError) as error:
        message = str(error).encode().decode("unicode_escape")  # ml_collections quotes twice
        sys.exit("error: --config: " + " ".join(message.split()))


def read_config():
    """The typed config of the flags. Raises ConfigError, also for a file that is not there."""
    try:
        return from_config_dict(CONFIG.value)
    except OSError as error:
        raise ConfigError("--config: " + " ".join(str(error).split())) from None


def main(argv):
    absl_logging.set_verbosity(absl_logging.WARNING)  # libraries
    logging.getLogger("videodit").setLevel(logging.INFO)
    try:
        if len(argv) > 1:
            raise ConfigError(f"unexpected argument {argv[1]!r}: fields are --config.NAME=VALUE")
        cfg = read_config()
        from videodit.sharding import join_processes  # after the flags: jax takes a second

        join_processes(cfg.mesh)
        from videodit.train import train

        train(cfg, WORKDIR.value)
    except ConfigError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    flags.mark_flags_as_required(["config", "workdir"])
    app.run(main, flags_parser=parse_flags)
