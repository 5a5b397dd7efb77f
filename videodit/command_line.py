"""The flag --config of the entries that take one: a file in configs/ and changes of its fields."""

from absl import flags
from ml_collections import config_flags

from videodit.config import Config, ConfigError, from_config_dict, refuse, refuse_old_name
from videodit.config.renamed import RENAMED

CONFIG = config_flags.DEFINE_config_file("config", help_string="A file in configs/.")


def parse_flags(argv: list[str]) -> list[str]:
    """absl's parser; a mistyped flag, field or file of --config is one line, exit status 2."""
    try:
        for argument in argv[1:]:
            refuse_old_name(argument.lstrip("-").partition("=")[0].removeprefix("config."))
        return flags.FLAGS(argv)
    except flags.Error as error:
        refuse(" ".join(str(error).split()))
    except (AttributeError, KeyError) as error:
        name = _plain(error).replace("'", "").strip('"')
        refuse(f"--config: unknown field {name}{_moved(name)}")
    except ConfigError as error:
        refuse("--config: " + _plain(error))


def _plain(error: Exception) -> str:
    """One line; ml_collections quotes twice."""
    return " ".join(str(error).encode().decode("unicode_escape").split())


def _moved(name: str) -> str:
    """Where the field went that a config file asks its section for; "" if it is not known."""
    found = (f": {old} is now called {new}" for old, new in RENAMED.items())
    return next((text for text in found if f".{name} " in text), "")


def config_from_flags() -> Config:
    """The typed config of the flags. Raises ConfigError, also for a file that is not there."""
    try:
        return from_config_dict(CONFIG.value)
    except OSError as error:
        raise ConfigError("--config: " + " ".join(str(error).split())) from None
