"""The command line as a user meets it: one message that names the thing, no traceback."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def run(module, *args):
    return subprocess.run(
        [sys.executable, "-m", f"videodit.{module}", *map(str, args)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.parametrize("args, message", [
    (["--config=configs/dit_xl.py:smok"], "unknown variant 'smok'"),
    (["--config=configs/dit_xl.py:smoke", "--config.optim.learning_rat=1"], "learning_rate"),
    (["--config=configs/dit_xl.py:smoke", "--config.steps=many"], "steps"),
    (["--config=configs/dit_xl.py:smoke", "--config.mesh.fsdp=3"], "needs 3 devices"),
    (["--config=configs/nothing.py"], "configs/nothing.py"),
    (["--config=configs/dit_s.py"], "data.catalog"),
    (["--config=configs/dit_xl.py:smoke", "extra"], "unexpected argument 'extra'"),
])  # fmt: skip
def test_wrong_input_is_one_message(tmp_path, args, message):
    result = run("main", f"--workdir={tmp_path}", *args)
    assert result.returncode in (1, 2)
    assert message in result.stderr and "Traceback" not in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_readmes_overrides_on_a_fake_mesh(tmp_path):
    result = run(
        "main",
        "--config=configs/dit_xl.py:smoke",
        f"--workdir={tmp_path}",
        "--config.mesh.cpu_devices=8",
        "--config.mesh.fsdp=2",
    )
    assert result.returncode == 0, result.stderr
    assert "train 2/2" in result.stdout
