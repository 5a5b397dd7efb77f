"""Writes RUN/report.html: one self-contained page of a demo's figures and videos.

python -m tools.report --run=runs/demo
"""

from pathlib import Path

from absl import app, flags

from videodit.config import ConfigError, refuse
from videodit.eval.demo_page import page


def main(argv: list[str]) -> None:
    """Runs the command line. A ConfigError is printed as one line, with exit status 2."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected argument {argv[1]!r}")
    run = Path(flags.FLAGS.run)
    try:
        text = page(run)
    except ConfigError as error:
        refuse(error)
    file = run / "report.html"
    file.write_text(text, encoding="utf-8")
    print(f"Wrote {file}, {len(text) / 1e6:.1f} MB")


if __name__ == "__main__":
    flags.DEFINE_string("run", "runs/demo", "folder of the demo")
    app.run(main)
