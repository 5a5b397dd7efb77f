"""The file tree in README.md is the tree that there is."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def listed() -> set[str]:
    """Paths of the tree in README.md, folders without their slash."""
    tree = re.search(r"## File tree\n+```\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    paths, folder = set(), ""
    for line in tree[1].splitlines():
        name = line.split()[0].rstrip("/")
        folder = folder if line.startswith("  ") else name
        paths.add(f"{folder}/{name}" if line.startswith("  ") else name)
    return paths


def test_every_listed_path_exists():
    assert [path for path in sorted(listed()) if not (ROOT / path).exists()] == []


def test_every_part_of_the_package_is_listed():
    parts = [path for path in (ROOT / "videodit").iterdir() if not path.name.startswith("__")]
    assert {f"videodit/{path.name}" for path in parts} - listed() == set()
