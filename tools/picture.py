"""A demo in one picture: film, reconstructions and generated clips.

python -m tools.picture --run=runs/demo --out=docs/demo.png
"""

from pathlib import Path

from absl import app, flags

from videodit.config import ConfigError, refuse
from videodit.eval.demo_picture import draw, rows


def main(argv: list[str]) -> None:
    """Runs the command line. A ConfigError is printed as one line, with exit status 2."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected argument {argv[1]!r}")
    try:
        picture = draw(rows(Path(flags.FLAGS.run)))
    except ConfigError as error:
        refuse(error)
    out = Path(flags.FLAGS.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    picture.save(out)
    print(f"Wrote {out}, {picture.width} x {picture.height}")


if __name__ == "__main__":
    flags.DEFINE_string("run", "runs/demo", "folder of the demo")
    flags.DEFINE_string("out", "docs/demo.png", "the picture to write")
    app.run(main)
