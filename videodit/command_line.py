"""The flag --config of the entries that take one: a file in configs/ and changes of its fields."""

from absl import flags
from ml_collections import config_flags

from videodit.config import ConfigError, from_config_dict, refuse

CONFIG = config_flags.DEFINE_config_file("config", help_string="A file in configs/.")


def parse_flags(argv):
    """absl's parser; a mistyped flag, field or file of --config is one line, exit status 2."""
    try:
        return flags.FLAGS(argv)
    except flags.Error as error:
        refuse(" ".join(str(error).split()))
    except AttributeError as error:
        refuse("--config: unknown field " + _plain(error).replace("'", "").strip('"'))
    except ConfigError as error:
        refuse("--config: " + _plain(error))


def _plain(error: Exception) -> str:
    """One line; ml_collections quotes twice."""
    return " ".join(str(error).encode().decode("unicode_escape").split())


def config_from_flags():
    """The typed config of the flags. Raises ConfigError, also for a file that is not there."""
    try:
        return from_config_dict(CONFIG.value)
    except OSError as error:
        raise ConfigError("--config: " + " ".join(str(error).split())) from None
