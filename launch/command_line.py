"""What the launchers share: what a user can mend ends them with one line, exit status 2."""

from collections.abc import Callable

from absl import app, flags

from videodit.config import ConfigError, refuse


def run(main: Callable[[list[str]], None]) -> None:
    """As app.run, but mistyped flags and ConfigErrors of `main` are one line, exit status 2."""

    def checked(argv):
        try:
            main(argv)
        except ConfigError as error:
            refuse(error)

    app.run(checked, flags_parser=_parse)


def behind_dashes(argv: list[str], what: str) -> list[str]:
    """The words behind `--` on the command line. Raises ConfigError if there are none."""
    if len(argv) < 2:
        raise ConfigError(f"expected -- and {what}")
    return argv[1:]


def _parse(argv):
    try:
        return flags.FLAGS(argv)
    except flags.Error as error:
        refuse(" ".join(str(error).split()))
