import json
from types import SimpleNamespace

import numpy as np
import pytest
from fake_world import FakeWorld
from PIL import Image

from tools import evaluate_prompts as tool
from tools import make_worlds
from videodit.config import ConfigError, SampleConfig
from videodit.data.sources.source import ArrayRecordSource
from videodit.eval import prompts
from videodit.eval.sheet import GAP
from videodit.worlds.clip_shapes import Shapes

SHAPES = Shapes(sides=(32, 32), frames=(5, 5))


class Makes:
    """A pipeline whose clips are the true ones, all of them later ones first."""

    cfg = SimpleNamespace(
        sample=SampleConfig(),
        autoencoder=SimpleNamespace(workdir="", patch=(4, 8, 8)),
    )

    def __init__(self, clips):
        self.clips = clips

    def __call__(self, requests):
        yield from reversed(list(enumerate(self.clips)))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    out = tmp_path_factory.mktemp("data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(make_worlds, "open_world", lambda name: FakeWorld())
        make_worlds.make_worlds("fake", out, 60, SHAPES, workers=1, held_out=0.2)
    return str(out)


@pytest.fixture(autouse=True)
def perfect_model(monkeypatch, data):
    monkeypatch.setattr(prompts, "open_world", lambda name: FakeWorld())
    source = ArrayRecordSource(data)
    clips = prompts.true_clips(prompts.read_prompts(source, data, "test", 8), source)
    grey = SimpleNamespace(reconstruct=lambda clip, fps: np.full_like(clip, 128))
    monkeypatch.setattr(tool.Pipeline, "read", lambda *_, **__: Makes(clips))
    monkeypatch.setattr(tool.Codec, "read", lambda *_: grey)


def test_a_perfect_model_follows_and_is_as_coherent_as_the_truth(data, tmp_path):
    found = tool.evaluate_prompts("run", data, "test", 8)
    report = found[0]
    assert report["following"]["generated"] == report["following"]["true"]
    assert report["following"]["generated"]["all"]["right"] == 1
    assert report["following"]["reconstructed"]["all"]["right"] < 1  # grey is no colour of three
    assert report["differences_ratio"] == {"across": 1, "inside": 1}
    tool.write(tmp_path, *found)
    assert json.loads((tmp_path / "prompts.json").read_text()) == report
    index = json.loads((tmp_path / "clips" / "index.json").read_text())
    assert [item["prompt"] for item in index] == [p.request.prompt for p in found[1]]
    assert all((tmp_path / "clips" / item["file"]).exists() for item in index)
    assert Image.open(tmp_path / "sheet.png").width == 4 * (3 * 72 + GAP) + GAP
    lines = tool.format_report(report).splitlines()
    assert lines[-2].split() == ["all", "8", "100.0%", *lines[-2].split()[3:5], "100.0%"]


def test_one_prompt_is_too_few(data):
    with pytest.raises(ConfigError, match="clips=1: expected at least 2"):
        tool.evaluate_prompts("run", data, "test", 1)
