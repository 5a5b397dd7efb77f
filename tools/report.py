"""Writes RUN/report.html: one self-contained page of a recipe's figures and videos.

python -m tools.report --run=runs/demo
python -m tools.report --page=world --run=runs/world
"""

from pathlib import Path

from absl import flags

from videodit.entry import run_command
from videodit.eval import demo_page, world_page
from videodit.folders import check_file

PAGES = {"demo": demo_page.page, "world": world_page.page}


def main(_: list[str]) -> None:
    """Runs the command line. Raises ConfigError."""
    run = Path(flags.FLAGS.run)
    file = run / "report.html"
    text = PAGES[flags.FLAGS.page](run)
    check_file(file, "--run")
    file.write_text(text, encoding="utf-8")
    print(f"Wrote {file}, {len(text) / 1e6:.1f} MB")


if __name__ == "__main__":
    flags.DEFINE_string("run", "runs/demo", "folder of the recipe's run")
    flags.DEFINE_enum("page", "demo", list(PAGES), "which recipe it is")
    run_command(main)
