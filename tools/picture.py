"""A demo in one picture: film, reconstructions and generated clips.

python -m tools.picture --run=runs/demo --out=docs/demo.png
"""

from pathlib import Path

from absl import flags

from videodit.entry import run_command
from videodit.eval.demo_picture import FRAME, rows
from videodit.eval.sheet import draw
from videodit.folders import check_folder


def main(_: list[str]) -> None:
    """Runs the command line. Raises ConfigError."""
    out = Path(flags.FLAGS.out)
    check_folder(out.parent, "--out")
    picture = draw(rows(Path(flags.FLAGS.run)), FRAME)
    out.parent.mkdir(parents=True, exist_ok=True)
    picture.save(out)
    print(f"Wrote {out}, {picture.width} x {picture.height}")


if __name__ == "__main__":
    flags.DEFINE_string("run", "runs/demo", "folder of the demo")
    flags.DEFINE_string("out", "docs/demo.png", "the picture to write")
    run_command(main)
