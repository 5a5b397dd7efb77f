"""The file tree in README.md is the tree that there is."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def listed() -> set[str]:
    """Paths of the tree in README.md, folders without their slash.

    A line begins with one path, or is a list of several; indented ones lie in the folder above.
    """
    tree = re.search(r"## File tree\n+```\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    paths, folder = set(), ""
    for line in tree[1].splitlines():
        inside, names = line.startswith("  "), re.findall(r"[\w./-]+(?=  |$)", line.split("   ")[0])
        folder = folder if inside else names[0].rstrip("/")
        paths |= {f"{folder}/{name}" if inside else name for name in map(_plain, names)}
    return paths


def _plain(name: str) -> str:
    return name.rstrip("/")


def test_every_listed_path_exists():
    assert [path for path in sorted(listed()) if not (ROOT / path).exists()] == []


def test_every_folder_of_the_package_is_listed():
    folders = [x for x in (ROOT / "videodit").iterdir() if x.is_dir() and x.name[0] not in "_."]
    assert {f"videodit/{folder.name}" for folder in folders} - listed() == set()
