"""A file imports only from lower floors, and no files import one another in a circle.

The floors are the table in docs/architecture.md. Imports inside functions count too.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools.house import PAGE, read_floors

ROOT = Path(__file__).parents[1]
OUTSIDE = {"tools", "tests", "configs", "launch"}  # import videodit, never imported by it
JAX = {"jax", "flax", "optax", "orbax", "videodit.sharding", "videodit.data.loader"}


FLOORS = {path: row.number for row in read_floors(PAGE.read_text()) for path in row.paths}


def unit(path: str) -> str | None:
    """The longest path in FLOORS that holds the file or module `path`; None if there is none.

    nn/rope.py -> nn/, step.py -> step.py, eval/pca.py -> eval/pca.py
    """
    parts = path.removesuffix(".py").split("/")
    for end in range(len(parts), 0, -1):
        name = "/".join(parts[:end])
        for entry in (f"{name}.py", f"{name}/"):
            if entry in FLOORS:
                return entry
    return None


def imports(file: Path) -> set[str]:
    """Dotted names that a file imports, at its top or inside functions."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            found |= {f"{module}.{alias.name}" for alias in node.names}
    return found


def starts_with(name: str, prefixes: set[str]) -> bool:
    return any(name == prefix or name.startswith(prefix + ".") for prefix in prefixes)


def wrong_import(path: str, name: str) -> str | None:
    """Why the file `path` (relative to the package) may not import `name`; None if it may."""
    own = unit(path)
    if name.startswith(".") or starts_with(name, OUTSIDE):
        return "is relative" if name.startswith(".") else "is outside the package"
    free_of_jax = own in ("config.py", "config/") or (own == "data/" and path != "data/loader.py")
    if free_of_jax and starts_with(name, JAX):
        return "brings jax"
    if not name.startswith("videodit."):
        return None
    other = unit("/".join(name.split(".")[1:]))
    if other == own or (other and FLOORS[other] < FLOORS[own]):
        return None
    return f"{other} is not below {own}"


def python_files(package: Path) -> Iterator[tuple[str, Path]]:
    """The files of a package with their paths below it, its own __init__.py left out."""
    for file in sorted(package.rglob("*.py")):
        path = file.relative_to(package).as_posix()
        if path != "__init__.py":
            yield path, file


def violations(package: Path) -> list[str]:
    """Every broken rule in a package folder, as "file: what"."""
    found = []
    for path, file in python_files(package):
        if unit(path) is None:
            found.append(f"{path}: stands on no floor of docs/architecture.md")
            continue
        reasons = {name: wrong_import(path, name) for name in imports(file)}
        found += [f"{path}: {name} {reason}" for name, reason in reasons.items() if reason]
    return found


def imported_files(package: Path) -> dict[str, set[str]]:
    """The graph of imports: each file of a package to the files of it that it imports."""
    modules = {
        "videodit." + path.removesuffix(".py").removesuffix("/__init__").replace("/", "."): path
        for path, _ in python_files(package)
    }
    graph = {}
    for path, file in python_files(package):
        names = imports(file)
        names |= {name.rpartition(".")[0] for name in names}  # from module import thing
        graph[path] = {modules[name] for name in names if name in modules} - {path}
    return graph


def reached(graph: dict[str, set[str]], start: str) -> set[str]:
    """All files that a file imports, directly or through others."""
    found, waiting = set(), list(graph[start])
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting += graph[path]
    return found


def circles(package: Path) -> list[list[str]]:
    """Groups of files that import one another in a circle."""
    graph = imported_files(package)
    all_reached = {path: reached(graph, path) for path in graph}
    groups = {
        tuple(sorted(other for other in seen if path in all_reached[other]))
        for path, seen in all_reached.items()
        if path in seen
    }
    return [list(group) for group in sorted(groups)]


def test_files_import_only_from_lower_floors():
    assert violations(ROOT / "videodit") == []


def test_no_files_import_one_another_in_a_circle():
    assert circles(ROOT / "videodit") == []


def test_every_path_in_the_table_of_floors_exists_once():
    paths = [path for row in read_floors(PAGE.read_text()) for path in row.paths]
    assert sorted(paths) == sorted(set(paths))
    missing = [path for path in FLOORS if not (ROOT / "videodit" / path).exists()]
    assert missing == []


@pytest.mark.parametrize(
    "path, line, reason",
    [
        ("nn/rope.py", "from videodit.models import dit", "models/ is not below nn/"),
        ("nn/rope.py", "import videodit.data.planning.plan", "data/ is not below nn/"),
        ("diffusion/flow.py", "from videodit import models", "models/ is not below diffusion/"),
        ("optim.py", "from videodit.train import train", "train.py is not below optim.py"),
        ("tasks/task.py", "def f():\n    import videodit.step", "step.py is not below tasks/"),
        ("nn/rope.py", "from videodit.nothing import f", "None is not below nn/"),
        ("data/planning/plan.py", "import jax.numpy as jnp", "brings jax"),
        ("data/planning/plan.py", "from videodit.sharding import spec", "brings jax"),
        ("config/run.py", "def f():\n    import jax", "brings jax"),
        ("train.py", "from tools import report", "outside the package"),
        ("train.py", "from .step import make_init", "is relative"),
        ("helpers.py", "", "stands on no floor"),
        ("data/loader.py", "import jax", None),
        ("data/show.py", "from videodit.data.loader import host_batches", None),
        (
            "data/planning/plan.py",
            "from videodit.data import show",
            "data/show.py is not below data/",
        ),
        ("sharding.py", "from videodit.config import MeshConfig", None),
        ("models/dit.py", "from videodit.nn.block import Block", None),
    ],
)
def test_a_wrong_import_is_found(tmp_path, path, line, reason):
    for folder in ("nn", "models", "data/planning", "diffusion", "tasks", "config"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / path).write_text(line)
    found = violations(tmp_path)
    assert found == [] if reason is None else reason in " ".join(found)


def test_a_circle_is_found_through_functions_and_packages(tmp_path):
    (tmp_path / "nn").mkdir()
    files = {
        "nn/__init__.py": "from videodit.nn import rope",
        "nn/rope.py": "def f():\n    from videodit.optim import update",
        "optim.py": "import videodit.nn",
        "step.py": "from videodit.optim import update",
    }
    for path, text in files.items():
        (tmp_path / path).write_text(text)
    assert circles(tmp_path) == [["nn/__init__.py", "nn/rope.py", "optim.py"]]
