"""What README.md, CONTRIBUTING.md and docs/ name exists: files, commands, flags, config fields."""

import functools
import importlib
import importlib.util
import re
from pathlib import Path

import pytest

from videodit.config import defaults

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
FOLDERS = ("videodit", "tools", "tests", "configs", "launch", "docs", "requirements")
COMMAND = re.compile(r"python -m ((?:videodit|tools|launch)[\w.]*\w)")

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def spans(page: Path) -> list[str]:
    """The inline code of a page."""
    prose = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    return re.findall(r"`([^`\n]+)`", prose)


def command_lines(page: Path) -> list[str]:
    """Commands of the project in a page, continued lines joined, comments left out."""
    blocks = re.findall(r"```bash\n(.*?)```", page.read_text(), re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    commands = [re.sub(r"\s#.*", "", line) for line in lines] + spans(page)
    return [line for line in commands if COMMAND.search(line) or "launch/" in line]


@functools.cache
def known_flags() -> set[str]:
    """Names of all flags that a file of the project defines."""
    sources = [file.read_text() for folder in FOLDERS for file in (ROOT / folder).rglob("*.py")]
    defined = r'DEFINE_\w+\(\s*"([\w-]+)"|add_argument\(\s*"--([\w-]+)"|DEFINE_config_file\("(\w+)"'
    found = re.findall(defined, "\n".join(sources))
    return {name.replace("-", "_") for names in found for name in names if name}


def known_field(name: str) -> bool:
    """Whether the config has a field of this name, such as data.views.mirror."""
    config = defaults()
    for part in name.split("."):
        if part not in config:
            return False
        config = config[part]
    return True


@each_page
def test_paths_exist(page):
    paths = [span for span in spans(page) if re.match(rf"(?:{'|'.join(FOLDERS)})/[\w./-]*$", span)]
    real = [path for path in paths if "NAME" not in path]
    assert [path for path in real if not (ROOT / path).exists()] == []


@each_page
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text())
    local = [link for link in links if not link.startswith("http")]
    assert [link for link in local if not (page.parent / link).exists()] == []


@each_page
def test_commands_can_be_run(page):
    for module in {name for line in command_lines(page) for name in COMMAND.findall(line)}:
        spec = importlib.util.find_spec(module)
        assert spec, module
        assert 'if __name__ == "__main__":' in Path(spec.origin).read_text(), module


@each_page
def test_flags_and_configs_of_commands_exist(page):
    for line in command_lines(page):
        for name in re.findall(r"(?<=\s)--([\w-]+)(?=[=\s]|$)", line):
            name = name.replace("-", "_")
            known = name in known_flags() or name.removeprefix("no") in known_flags()
            assert known or name in {"dry_run", "nodes", "gpus_per_node"}, f"--{name}: {line}"
        for name in re.findall(r"--config\.([\w.]+)=", line):
            assert known_field(name), f"--config.{name}: {line}"
        for file in re.findall(r"--config=(configs/\w+\.py)", line):
            assert (ROOT / file).exists(), line


@each_page
def test_imports_of_examples_exist(page):
    blocks = "\n".join(re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL))
    for module, names in re.findall(r"^from (videodit[\w.]*) import (.*)$", blocks, re.MULTILINE):
        found = importlib.import_module(module)
        assert [name for name in names.split(", ") if not hasattr(found, name)] == []


@each_page
def test_make_targets_exist(page):
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {span.split()[1] for span in spans(page) if re.match(r"make [\w-]+$", span)}
    assert named <= targets
