"""The command line of all launchers: a user's mistake is one line, with exit status 2."""

from collections.abc import Callable

from videodit import entry
from videodit.config import ConfigError


def run(main: Callable[[list[str]], None]) -> None:
    """As videodit.entry.run_command, for a command that takes the words behind `--`."""
    entry.run_command(main, words=True)


def behind_dashes(argv: list[str], what: str) -> list[str]:
    """The words after `--` on the command line. Raises ConfigError if there is none."""
    if len(argv) < 2:
        raise ConfigError(f"expected -- and {what}")
    return argv[1:]
