import json

import pytest

from tools import demo
from videodit.curation.film import CAPTIONS


@pytest.fixture
def two_stages(monkeypatch, tmp_path):
    """Stages "first", which succeeds, and "second", which fails until tmp_path/input exists."""
    stages = {"first": ["platform"], "second": ["json.tool", str(tmp_path / "input")]}
    monkeypatch.setattr(demo, "stages", lambda out: stages)


def test_a_failing_stage_is_named_and_run_again(two_stages, tmp_path, capfd):
    assert demo.run_stages(tmp_path) == 1
    assert "[2/2 second] failed" in capfd.readouterr().out
    assert "input" in (tmp_path / "second.log").read_text()
    log = (tmp_path / "first.log").read_text()

    (tmp_path / "input").write_text('{"a": 1}')
    before = json.loads((tmp_path / "stages.json").read_text())
    assert demo.run_stages(tmp_path) == 0
    after = json.loads((tmp_path / "stages.json").read_text())
    assert (tmp_path / "first.log").read_text() == log  # not run again
    assert after["first"] == before["first"]
    assert not before["second"]["done"] and after["second"]["done"]
    assert after["second"]["seconds"] >= before["second"]["seconds"]


def test_seconds_of_earlier_runs_count(tmp_path):
    record = demo.StageRecord(tmp_path / "stages.json")
    record.record("slow", 100.0, done=False)
    record = demo.StageRecord(tmp_path / "stages.json")
    sleep = ["timeit", "--number=1", "--repeat=2", "import time; time.sleep(0.2)"]
    assert demo.run_stage("slow", sleep, tmp_path / "slow.log", record) == 0
    assert 100.4 <= record.seconds("slow") < 110 and record.done("slow")


def test_requests_ask_for_captions_of_the_film_in_every_shape(tmp_path):
    (tmp_path / "big_buck_bunny.jsonl").write_text(CAPTIONS.read_text())
    demo.write_requests(tmp_path, tmp_path / "requests.jsonl")
    requests = [json.loads(line) for line in (tmp_path / "requests.jsonl").open()]
    captions = {json.loads(line)["caption"] for line in CAPTIONS.open()}
    assert {request["prompt"] for request in requests} <= captions
    assert len({request["prompt"] for request in requests}) == 4
    assert len({request["out"] for request in requests}) == len(requests)
    aspects = {tuple(map(int, request["size"].split("x"))) for request in requests}
    assert {(w > h) - (w < h) for w, h in aspects} == {-1, 0, 1}
    assert len({request["frames"] for request in requests}) == 2
