"""Mistakes that a user can mend, and how they are named."""

import difflib
import sys
import typing
from collections.abc import Iterable

from videodit.config.exits import USER_ERROR


class ConfigError(Exception):
    """A mistake that a user can mend; entry points end with it (`refuse`), without a traceback."""


def refuse(error: object) -> typing.NoReturn:
    """Ends an entry point because of a user's mistake: one line on stderr, exit status 2."""
    print(f"error: {error}", file=sys.stderr)
    sys.exit(USER_ERROR)


def check(condition: bool, name: str, value: object, expected: str) -> None:
    """Raises ConfigError("name=value: expected ...") unless `condition` holds."""
    if not condition:
        raise ConfigError(f"{name}={shortened(value)}: expected {expected}")


def one_line(error: BaseException) -> str:
    """The message of a library's error, some of which have several lines."""
    return " ".join(str(error).split())


def shortened(value: object) -> str:
    """The value for a message, at most about a line long."""
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:180]} ... ({len(text)} characters)"


def check_positive(cfg: object, prefix: str, names: tuple[str, ...]) -> None:
    """Raises ConfigError unless the named fields of a config are at least 1."""
    for name in names:
        value = getattr(cfg, name)
        check(value >= 1, f"{prefix}.{name}".strip("."), value, "at least 1")


def nearest(name: str, names: Iterable[str]) -> str:
    """A hint for an unknown name: the nearest known one, or all of them if none is near."""
    names = list(names)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(names)}"
