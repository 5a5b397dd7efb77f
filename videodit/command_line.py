"""The flag --config of the entries that take one: a file in configs/ and changes of its fields."""

import itertools
import traceback
from collections.abc import Iterator
from pathlib import Path

from ml_collections import config_flags

from videodit.config import (
    Config,
    ConfigError,
    check_field,
    from_config_dict,
    refuse,
    refuse_old_name,
)
from videodit.config.renamed import RENAMED
from videodit.entry import parse_flags as parse_absl_flags

CONFIG = config_flags.DEFINE_config_file("config", help_string="A file in configs/.")


def parse_flags(argv: list[str]) -> list[str]:
    """absl's parser; a mistyped flag, field or file of --config is one line, exit status 2."""
    try:
        for name in _fields(argv):
            refuse_old_name(name)
        _check_file(argv)
        return parse_absl_flags(argv)
    except (AttributeError, KeyError) as error:
        refuse(f"--config: {_unknown_field(argv, error)}")
    except ConfigError as error:
        refuse("--config: " + _plain(error))
    except Exception as error:  # of the file's own code
        at = traceback.extract_tb(error.__traceback__)[-1]
        place = "" if isinstance(error, SyntaxError) else f" ({at.filename}, line {at.lineno})"
        refuse(f"--config: {type(error).__name__}: {_plain(error)}{place}")


def _fields(argv: list[str]) -> Iterator[str]:
    """The dotted names that a command line changes: data.batch_rows of --config.data.batch_rows."""
    for argument in argv[1:]:
        if argument == "--":
            return
        name = argument.partition("=")[0].lstrip("-")
        if argument.startswith("-") and name.startswith("config."):
            yield name.removeprefix("config.")


def _check_file(argv: list[str]) -> None:
    """Refuses a file of --config that is not there, before others add their own words."""
    for argument, following in itertools.zip_longest(argv[1:], argv[2:], fillvalue=""):
        name, equals, value = argument.partition("=")
        path = (value if equals else following).partition(":")[0]
        if name in ("--config", "-config") and path and not Path(path).is_file():
            refuse(f"--config={path!r}: no such file; expected a file in configs/")


def _unknown_field(argv: list[str], error: Exception) -> str:
    """Why a field is unknown: of the command line, or else of the config file."""
    try:
        for name in _fields(argv):
            check_field(name)
    except ConfigError as found:
        return str(found)
    name = _plain(error).replace("'", "").strip('"')
    return f"unknown field {name}{_moved(name)}"


def _plain(error: Exception) -> str:
    """One line; ml_collections quotes twice."""
    text = str(error)
    for escaped, plain in (("\\n", " "), ("\\'", "'"), ('\\"', '"')):
        text = text.replace(escaped, plain)
    return " ".join(text.split())


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
