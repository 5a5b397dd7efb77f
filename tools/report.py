"""Writes RUN/report.html: one self-contained page of a demo's figures and videos.

python -m tools.report --run=runs/demo
"""

from pathlib import Path

from absl import flags

from videodit.entry import run_command
from videodit.eval.demo_page import page
from videodit.folders import check_file


def main(_: list[str]) -> None:
    """Runs the command line. Raises ConfigError."""
    run = Path(flags.FLAGS.run)
    file = run / "report.html"
    text = page(run)
    check_file(file, "--run")
    file.write_text(text, encoding="utf-8")
    print(f"Wrote {file}, {len(text) / 1e6:.1f} MB")


if __name__ == "__main__":
    flags.DEFINE_string("run", "runs/demo", "folder of the demo")
    run_command(main)
