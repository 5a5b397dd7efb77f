"""The command line of all launchers: a user's mistake is one line, with exit status 2."""

from collections.abc import Callable

from absl import app, flags

from videodit.config import ConfigError, refuse


def run(main: Callable[[list[str]], None]) -> None:
    """Does app.run; for mistyped flags and ConfigErrors it prints one line, with exit status 2."""

    def checked(argv: list[str]) -> None:
        try:
            main(argv)
        except ConfigError as error:
            refuse(error)

    app.run(checked, flags_parser=_parse)


def behind_dashes(argv: list[str], what: str) -> list[str]:
    """The words after `--` on the command line. Raises ConfigError if there is none."""
    if len(argv) < 2:
        raise ConfigError(f"expected -- and {what}")
    return argv[1:]


def _parse(argv: list[str]) -> list[str]:
    try:
        return flags.FLAGS(argv)
    except flags.Error as error:
        refuse(" ".join(str(error).split()))
