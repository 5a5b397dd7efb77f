"""Commands run in this process, as the command line runs them."""

import contextlib
import io
import runpy
import sys
from collections.abc import Iterator
from typing import NamedTuple

from absl import flags

import videodit.command_line  # noqa: F401  # defines --config, which commands make required

FLAGS = flags.FLAGS


class Done(NamedTuple):
    """How a command ended."""

    status: object  # exit status; None or 0 if it succeeded
    errors: str  # what it wrote on stderr


def run_here(module: str, *arguments: str) -> Done:
    """Runs `python -m module arguments` without a new process; its flags are forgotten after it."""
    errors, status, before = io.StringIO(), None, sys.argv
    sys.argv = [module, *arguments]
    silent = contextlib.redirect_stdout(io.StringIO())
    with contextlib.redirect_stderr(errors), silent, _own_flags():
        try:
            runpy.run_module(module, run_name="__main__")
        except SystemExit as stop:
            status = stop.code
    sys.argv = before
    return Done(status, errors.getvalue())


@contextlib.contextmanager
def _own_flags() -> Iterator[None]:
    """Hides the flags of commands that were imported, and deletes those that a command defines.

    Flags of libraries that are imported meanwhile stay, because nothing defines them again.
    """
    names = filter(_is_of_a_command, list(FLAGS))
    hidden = {name: (FLAGS.find_module_defining_flag(name), FLAGS[name]) for name in names}
    for name in hidden:
        delattr(FLAGS, name)
    validators = {name: list(FLAGS[name].validators) for name in FLAGS}
    FLAGS.unparse_flags()
    try:
        yield
    finally:
        for name in set(FLAGS) - validators.keys():
            if _is_of_a_command(name) or name.startswith("config."):
                delattr(FLAGS, name)
        for name, before in validators.items():
            FLAGS[name].unparse()
            FLAGS[name].validators[:] = before
        for name, (module, flag) in hidden.items():
            FLAGS[name] = flag
            FLAGS.register_flag_by_module(module, flag)
        FLAGS.mark_as_parsed()


def _is_of_a_command(name: str) -> bool:
    """Whether a command has defined a flag; --config belongs to several."""
    module = FLAGS.find_module_defining_flag(name) or ""
    of_the_project = module.startswith(("videodit.", "tools.", "__main__")) or module == sys.argv[0]
    return of_the_project and name != "config"
