import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from alike import AlikeSource
from packs import tiny_config

from tools import evaluate_autoencoder as tool
from videodit.checkpoint import write_run
from videodit.config import ConfigError
from videodit.data.sources.source import open_tokenizer
from videodit.eval.streaming import MEMORY_FRAMES

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def untrained(tmp_path_factory):
    """The folder of an autoencoder's run that has not begun."""
    folder = tmp_path_factory.mktemp("run")
    write_run(folder, tiny_config("autoencoder"), open_tokenizer("synthetic"))
    return str(folder)


@pytest.mark.parametrize("flag, message", [
    ({"shape_clips": 0}, "--shape_clips=0: expected at least 1"),
    ({"video": "film.mp4"}, "--video='film.mp4': expected --shapes"),
    ({"shapes": "32x32"}, "shapes.*32x32"),
    ({"shapes": "32x32x5@3"}, "--shapes=32x32x5@3: no held-out clip has .* of 3 frames a second"),
    ({"lpips": "/absent.npz"}, "--lpips='/absent.npz': .*No such file"),
    ({"stream_size": "64"}, "^--stream_size='64': expected WIDTHxHEIGHT"),
    ({"workdir": "/absent"}, "^--workdir='/absent': expected a run's folder"),
    ({"out": __file__}, f"^--out='{__file__}': expected a folder .* .File exists"),
    ({"out": f"{__file__}/out"}, f"^--out='{__file__}/out': expected a .* .Not a directory"),
    ({"tile": 512}, "^--tile=512: expected fewer patches than a side .* 32x32 pixels"),
    ({"tile": 512, "shapes": "16x32x5"}, "^--tile=512: expected fewer .* 16x32 pixels"),
])  # fmt: skip
def test_bad_flags_are_refused_before_anything_runs(
    untrained, tmp_path, monkeypatch, flag, message
):
    good = {"workdir": untrained, "data": "", "out": str(tmp_path), "clips": 1, "fit_clips": 1}
    good |= {"shape_clips": 1, "shapes": "", "video": "", "lpips": "", "tile": 0}
    good |= {"streaming": True, "stream_size": "256x256"}
    monkeypatch.setattr(tool, "open_data", lambda data, workdir: AlikeSource())
    with pytest.raises(ConfigError, match=message):
        tool.run(SimpleNamespace(**good | flag))  # which has no checkpoint to run


def test_a_mistake_is_one_line():
    done = subprocess.run(
        [sys.executable, "-m", "tools.evaluate_autoencoder", "--data=synthetic", "--clips=0"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stderr == "error: --clips=0: expected at least 1\n"


@pytest.mark.slow
def test_the_command_line_evaluates_a_run(tmp_path):
    train = [
        "videodit.main",
        "--config=configs/autoencoder_b.py:smoke",
        f"--workdir={tmp_path / 'run'}",
    ]
    evaluate = ["tools.evaluate_autoencoder", f"--workdir={tmp_path / 'run'}", "--data=synthetic"]
    evaluate += [f"--out={tmp_path / 'report'}", "--clips=2", "--fit_clips=4"]
    evaluate += ["--stream_size=128x128"]
    for command in (train, evaluate):
        done = subprocess.run(
            [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    few, many = (report["streaming"]["peak_memory"][str(n)]["host"] for n in MEMORY_FRAMES)
    assert many < 1.1 * few  # 1.22 if the frames that go in are kept
    assert (tmp_path / "report" / "report.html").is_file()
