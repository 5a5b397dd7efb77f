"""A wheel holds the code, its data files, and every command that the code names."""

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("videodit", "tools", "launch", "configs")
pytestmark = pytest.mark.slow


def files(root: Path) -> set[str]:
    """Paths of the files of all packages, what Python leaves behind left out."""
    found = {file for name in PACKAGES for file in (root / name).rglob("*") if file.is_file()}
    return {x.relative_to(root).as_posix() for x in found if "__pycache__" not in x.parts}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> set[str]:
    """Paths of the files of a wheel, which is built from a copy of the checkout."""
    source = tmp_path_factory.mktemp("source")
    for file in [*files(ROOT), "setup.py", "pyproject.toml", "README.md", "LICENSE"]:
        (source / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, source / file)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--quiet"]
    subprocess.run([*command, "--wheel-dir", str(source / "out"), str(source)], check=True)
    (file,) = (source / "out").glob("*.whl")
    return {name for name in zipfile.ZipFile(file).namelist() if name.startswith(PACKAGES)}


def test_a_wheel_holds_every_file_of_its_packages(wheel):
    inside = {name for name in wheel if ".dist-info/" not in name}
    assert inside == files(ROOT)


def test_a_wheel_holds_every_command_that_the_code_names(wheel):
    sources = [(ROOT / name).read_text() for name in files(ROOT) if name.endswith(".py")]
    named = set(re.findall(r"python -m ((?:videodit|tools|launch)[\w.]*\w)", "\n".join(sources)))
    modules = {name.removesuffix(".py").replace("/", ".") for name in wheel}
    assert len(named) > 10
    assert named - modules == set()
