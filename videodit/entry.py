"""How commands start: a user's mistake is one line on stderr, with exit status 2."""

import re
from collections.abc import Callable
from typing import Any

from absl import app, flags

from videodit.config import ConfigError, refuse

Parser = Callable[[list[str]], list[str]]


def parse_flags(argv: list[str]) -> list[str]:
    """absl's parser; for a mistyped or missing flag it prints one line and exits with status 2."""
    try:
        return flags.FLAGS(argv)
    except flags.Error as error:
        text = " ".join(str(error).split())
        missing = re.fullmatch(r"flag --(\w+)=None: .* must have a value other than None\.", text)
        refuse(f"--{missing[1]}: expected a value" if missing else text.removeprefix("flag "))


def run_command(
    main: Callable[[list[str]], Any], parser: Parser = parse_flags, words: bool = False
) -> None:
    """Does app.run; for mistyped flags and ConfigErrors it prints one line, with exit status 2.

    words: whether the command takes words that are no flags, as behind `--`; else they are refused.
    """

    def checked(argv: list[str]) -> Any:
        try:
            if not words:
                refuse_words(argv)
            return main(argv)
        except ConfigError as error:
            refuse(as_flag(str(error)))

    app.run(checked, flags_parser=parser)


def as_flag(message: str) -> str:
    """The message with its first name as a flag, "--clips=0: ...", if it is one of the command."""
    name = re.match(r"(\w+)=", message)
    return f"--{message}" if name and name[1] in flags.FLAGS else message


def refuse_words(argv: list[str]) -> None:
    """Raises ConfigError if a command line has a word that belongs to no flag."""
    if len(argv) > 1:
        raise ConfigError(f"unexpected argument {argv[1]!r}: expected --NAME=VALUE")
