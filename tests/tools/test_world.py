import pytest

from tools import world
from tools.stages import run_stages

SMALL = {  # further arguments of stages
    "dit": (
        "--config.steps=2",
        "--config.eval_every=2",
        "--config.eval_batches=1",
        "--config.inspect_batches=1",
        "--config.data.rows_per_group=10",
        "--config.sample.steps=1",
        "--config.sample.followed=2",
    ),
    "prompts": ("--steps=1",),
}


@pytest.mark.slow
def test_all_stages_lead_to_a_page_of_videos(tmp_path, monkeypatch):
    monkeypatch.setattr(world, "CLIPS", 200)
    monkeypatch.setattr(world, "PROMPTS", 4)
    stages = {name: [*a, *SMALL.get(name, ())] for name, a in world.stages(tmp_path).items()}
    assert run_stages(tmp_path, stages, {}) == 0
    page = (tmp_path / "report.html").read_text()
    assert page.count("<video") >= 4 and "Missing" not in page
