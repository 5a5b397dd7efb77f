"""A file imports only from lower floors, so it can be read without what stands above it."""

import ast
from pathlib import Path

import pytest

# From the ground up; a name ending in "/" is a folder of videodit/, without its entries.
FLOORS = (
    {"config", "sharding", "command_line", "compiler_flags"},
    {"nn/", "diffusion/", "data/", "flops", "digest"}
    | {"eval/linear", "eval/pca", "eval/reconstruction"},
    {"models/", "pretrained/", "worlds/"},
    {"tasks/", "optim", "checkpoint", "metrics", "preemption", "goodput", "profiling"},
    {"inference/", "step"},
    {"curation/"},
    {"eval/"},
    {"train"},
    {"forecasting/"},
    {"main", "generate", "plan", "sweep", "app", "data/show"},
)
BESIDE = {  # allowed on one floor
    ("sharding", "config"),
    ("command_line", "config"),
    ("compiler_flags", "sharding"),
    ("tasks/", "checkpoint"),
    ("eval/reconstruction", "nn/"),
    ("flops", "nn/"),
    ("goodput", "metrics"),
}
OUTSIDE = {"tools", "tests", "configs"}  # import videodit, never imported by it
JAX = {"jax", "flax", "optax", "orbax", "videodit.sharding", "videodit.data.loader"}


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


def unit(package: Path, path: str) -> str:
    """What stands on a floor: nn/rope.py -> "nn/", train.py -> "train", data/show.py itself."""
    name = path.removesuffix(".py")
    parts = name.split("/")
    for end in range(len(parts), 0, -1):  # eval/pca and what is imported from it
        if floor("/".join(parts[:end])) is not None:
            return "/".join(parts[:end])
    first = parts[0]
    return first + "/" if (package / first).is_dir() else first


def floor(name: str) -> int | None:
    return next((i for i, names in enumerate(FLOORS) if name in names), None)


def wrong_import(package: Path, path: str, name: str) -> str | None:
    """Why the file at `path` (relative to `package`) may not import `name`; None if it may."""
    own = unit(package, path)
    if name.startswith(".") or starts_with(name, OUTSIDE):
        return "is relative" if name.startswith(".") else "is outside the package"
    free_of_jax = own == "config" or (own == "data/" and path != "data/loader.py")
    if free_of_jax and starts_with(name, JAX):
        return "brings jax"
    if not name.startswith("videodit."):
        return None
    other = unit(package, "/".join(name.split(".")[1:]))
    if other == own or (own, other) in BESIDE:
        return None
    known = floor(other) is not None
    return None if known and floor(other) < floor(own) else f"{other} is not below {own}"


def violations(package: Path) -> list[str]:
    """Every broken rule in a package folder, as "file: what"."""
    found = []
    for file in sorted(package.rglob("*.py")):
        path = file.relative_to(package).as_posix()
        if path == "__init__.py":
            continue
        if floor(unit(package, path)) is None:
            found.append(f"{path}: stands on no floor of {__file__}")
            continue
        reasons = {name: wrong_import(package, path, name) for name in imports(file)}
        found += [f"{path}: {name} {reason}" for name, reason in reasons.items() if reason]
    return found


def test_files_import_only_from_lower_floors():
    assert violations(Path(__file__).parents[1] / "videodit") == []


@pytest.mark.parametrize(
    "path, line, reason",
    [
        ("nn/rope.py", "from videodit.models import dit", "models/ is not below nn/"),
        ("nn/rope.py", "import videodit.data.planning.plan", "data/ is not below nn/"),
        ("diffusion/flow.py", "from videodit import models", "models/ is not below diffusion/"),
        ("optim.py", "from videodit.checkpoint import save", "checkpoint is not below optim"),
        ("data/planning/plan.py", "import jax.numpy as jnp", "brings jax"),
        ("data/planning/plan.py", "from videodit.sharding import spec", "brings jax"),
        ("config.py", "def f():\n    import jax", "brings jax"),
        ("train.py", "from tools import report", "outside the package"),
        ("train.py", "from .step import make_init", "is relative"),
        ("helpers.py", "", "stands on no floor"),
        ("data/loader.py", "import jax", None),
        ("data/show.py", "from videodit.data.loader import host_batches", None),
        ("data/planning/plan.py", "from videodit.data import show", "data/show is not below data/"),
        ("sharding.py", "from videodit.config import MeshConfig", None),
        ("models/dit.py", "from videodit.nn.block import Block", None),
    ],
)
def test_a_wrong_import_is_found(tmp_path, path, line, reason):
    for folder in ("nn", "models", "data/planning", "diffusion"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / path).write_text(line)
    found = violations(tmp_path)
    assert found == [] if reason is None else reason in " ".join(found)
