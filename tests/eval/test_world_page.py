import json

import numpy as np
import pytest

from videodit.config import ConfigError
from videodit.data.video.files import write_video
from videodit.eval import world_page


def table(right):
    """Figures of two kinds of slots and of all."""
    figures = {"claimed": 100, "right": right, "chance": 0.25}
    return {"*.color": figures, "*.kind": figures | {"right": right / 2}, "all": figures}


@pytest.fixture
def run(tmp_path):
    """A small finished run."""
    report = {
        "sample": {"solver": "heun", "steps": 20, "guidance": 4.0},
        "following": {
            "generated": table(0.8),
            "reconstructed": table(0.96),
            "true": table(0.98),
        },
        "differences_ratio": {"across": 1.25, "inside": 1.0},
    }
    folder = tmp_path / "prompts" / "clips"
    folder.mkdir(parents=True)
    (tmp_path / "prompts" / "prompts.json").write_text(json.dumps(report))
    write_video(folder / "0000.mp4", np.zeros((5, 32, 32, 3), np.uint8), 8.0)
    index = [{"file": "0000.mp4", "prompt": "a <red> ball"}]
    (folder / "index.json").write_text(json.dumps(index))
    evals = [
        {"step": step, "kind": "eval", "following_color": step / 1000, "caption_accuracy": 0.5}
        | {"caption_chance": 0.125}
        for step in (100, 200)
    ]
    (tmp_path / "dit").mkdir()
    (tmp_path / "dit" / "metrics.jsonl").write_text("".join(json.dumps(e) + "\n" for e in evals))
    stages = {"data": {"seconds": 60, "done": True}, "dit": {"seconds": 120, "done": True}}
    (tmp_path / "stages.json").write_text(json.dumps(stages))
    return tmp_path


def test_figures_on_the_page_come_from_the_run(run):
    page = world_page.page(run)
    # 0.8 of 100 claims: the standard error of a share is sqrt(0.8 x 0.2 / 100) = 0.04.
    for text in ("80% ± 4%", "40% ± 5%", "96%", "98%", "1.25×", "20 heun steps", "3:00"):
        assert text in page, text
    assert "a &lt;red&gt; ball" in page and page.count("<video") == 1


def test_what_an_unfinished_run_lacks_is_named(tmp_path):
    page = world_page.page(tmp_path)
    assert "prompts.json" in page and "metrics.jsonl" in page


def test_a_missing_run_is_refused_by_name(tmp_path):
    with pytest.raises(ConfigError, match=r"tools\.world --out="):
        world_page.page(tmp_path / "none")
