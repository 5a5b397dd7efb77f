"""Every command refuses a mistyped command line with one line and exit status 2."""

import subprocess
import sys
from pathlib import Path

import pytest

from videodit.config import ConfigError
from videodit.entry import as_flag, parse_flags, refuse_words

ROOT = Path(__file__).parents[1]


def refusal(module, *args):
    """What a command says when it refuses its arguments."""
    command = [sys.executable, "-m", module, *args]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and not done.stdout, done.stderr
    return done.stderr


def test_a_name_of_a_flag_becomes_the_flag():
    assert as_flag("verbosity=3: expected less") == "--verbosity=3: expected less"
    assert as_flag("optim.verbosity=3: bad") == "optim.verbosity=3: bad"
    assert as_flag("nothing=3: bad") == "nothing=3: bad"
    with pytest.raises(ConfigError, match=r"^unexpected argument 'b': expected --NAME=VALUE$"):
        refuse_words(["a", "b"])


def test_a_mistyped_flag_is_one_line(capsys):
    with pytest.raises(SystemExit, match="2"):
        parse_flags(["a", "--verbositi=3"])
    assert capsys.readouterr().err.startswith("error: Unknown command line flag 'verbositi'")


@pytest.mark.parametrize("module, args, message", [
    ("videodit.generate", ["--promt=a"], "error: Unknown command line flag 'promt'"),
    ("videodit.generate", ["word"], "error: unexpected argument 'word'"),
    ("videodit.generate", ["--workdir=a", "--out=a.mp4", "--prompt=a", "--frames=0"],
     "error: --frames=0: expected"),
    ("videodit.generate", ["--workdir=a", "--out=a.mp4", "--prompt=a", "--solver=rk"],
     "error: --solver='rk': expected 'euler' or 'heun'"),
    ("tools.film", ["--out=a", "word"], "error: unexpected argument 'word'"),
    ("tools.film", [], "error: --out: expected a value"),
    ("tools.film", ["--out=/sys/kernel"], "error: --out='/sys/kernel': expected a folder that"),
    ("tools.house", ["--out=/nope/a"], "error: --out='/nope/a': expected a file in a folder that"),
    ("tools.bench_plan", [], "error: this benchmark has moved"),
])  # fmt: skip
def test_commands_refuse_a_wrong_command_line(module, args, message):
    assert refusal(module, *args).startswith(message)


def test_every_command_starts_in_the_same_way():
    for file in [*ROOT.glob("videodit/**/*.py"), *ROOT.glob("tools/**/*.py")]:
        if file != ROOT / "videodit" / "entry.py":
            assert "app.run(" not in file.read_text(), file
