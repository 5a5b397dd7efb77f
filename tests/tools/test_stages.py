import json

from tools.stages import StageRecord, run_stage, run_stages


def test_a_failing_stage_is_named_and_run_again(tmp_path, capfd):
    stages = {"first": ["platform"], "second": ["json.tool", str(tmp_path / "input")]}
    assert run_stages(tmp_path, stages, {}) == 1
    assert "[2/2 second] failed" in capfd.readouterr().out
    assert "input" in (tmp_path / "second.log").read_text()
    log = (tmp_path / "first.log").read_text()

    before = json.loads((tmp_path / "stages.json").read_text())
    write = {"second": lambda out: (out / "input").write_text('{"a": 1}')}
    assert run_stages(tmp_path, stages, write) == 0
    after = json.loads((tmp_path / "stages.json").read_text())
    assert (tmp_path / "first.log").read_text() == log  # not run again
    assert after["first"] == before["first"]
    assert not before["second"]["done"] and after["second"]["done"]
    assert after["second"]["seconds"] >= before["second"]["seconds"]


def test_a_damaged_record_starts_anew(tmp_path, capsys):
    for text in ("", "\0\0", '{"a": {"se', "[]"):
        (tmp_path / "stages.json").write_text(text)
        assert not StageRecord(tmp_path / "stages.json").done("a")
        assert "left out: " in capsys.readouterr().out


def test_seconds_of_earlier_runs_count(tmp_path):
    record = StageRecord(tmp_path / "stages.json")
    record.record("slow", 100.0, done=False)
    record = StageRecord(tmp_path / "stages.json")
    sleep = ["timeit", "--number=1", "--repeat=2", "import time; time.sleep(0.2)"]
    assert run_stage("slow", sleep, tmp_path / "slow.log", record) == 0
    assert 100.4 <= record.seconds("slow") < 110 and record.done("slow")
