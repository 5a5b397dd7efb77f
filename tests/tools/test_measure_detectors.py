import json
import subprocess
import sys
from pathlib import Path

import pytest
from fake_world import FakeWorld

from tools import measure_detectors as tool
from tools.measure_detectors import Counts, count, format_report, kind_of, measure_detectors
from videodit.config import ConfigError
from videodit.worlds.clip_shapes import Shapes, clip_seed
from videodit.worlds.world import Detection

WORLD, SHAPES, CLIPS = FakeWorld(), Shapes(sides=(32, 96), frames=(1, 9)), 60


@pytest.fixture(autouse=True)
def fake(monkeypatch):
    monkeypatch.setattr(tool, "open_world", lambda name: WORLD)


def test_slots_are_counted_by_kind():
    slots = {"a.color": "red", "b.color": "blue", "b.kind": "ball", "count.ball": "1"}
    said = {
        "a.color": Detection("red", 1.0),
        "b.color": Detection("red", 1.0),
        "c.color": Detection("green", 0.1),
        "place": Detection("meadow", 0.2),
    }
    assert count(slots, said) == {
        "*.color": Counts(true=2, said=2, right=1, invented=1),
        "*.kind": Counts(true=1),
        "count.*": Counts(true=1),
        "place": Counts(invented=1),
    }
    assert [kind_of(slot) for slot in ("e12.verb", "event.1", "camera")] == [
        *("e*.verb", "event.*", "camera")
    ]


def test_the_report_says_what_the_detector_gets_right():
    """The fake one knows colours, calls every square small, and says nothing of the camera."""
    measured = measure_detectors("fake", CLIPS, SHAPES, workers=1)
    seeds = [clip_seed(0, "test", i) for i in range(CLIPS)]
    small = sum(WORLD.make(s, SHAPES.draw(s)).slots["a.size"] == "small" for s in seeds) / CLIPS
    assert 0.2 < small < 0.8
    for version in ("raw", "stored"):
        shares = measured[version]
        assert shares["unseen"] == ["camera"]
        assert shares["*.color"] == {"true": CLIPS, "said": 1, "right": 1, "invented": 0}
        assert shares["*.size"]["right"] == pytest.approx(small, abs=1e-4)
        assert shares["all"]["right"] == pytest.approx((1 + small) / 2, abs=1e-4)
        assert shares["all"]["true"] == 2 * CLIPS
        by_frames = [row["true"] for name, row in shares.items() if name.startswith("frames")]
        assert sum(by_frames) == 2 * CLIPS and len(by_frames) == 2
    assert json.loads(json.dumps(measured))["clips"] == CLIPS
    table = format_report(measured).splitlines()
    line = next(line for line in table if line.startswith("*.color"))
    assert line.split() == ["*.color", str(CLIPS), *["100.0%", "100.0%", "0.0%"] * 2]
    assert table[-1] == "never said: camera"


def test_stored_clips_are_what_a_decoder_gives(monkeypatch):
    shown, detect = [], FakeWorld.detect
    monkeypatch.setattr(FakeWorld, "detect", lambda *args: shown.append(args[1]) or detect(*args))
    tool.look(0, "fake", SHAPES, seed=0)
    seed = clip_seed(0, "test", 0)
    raw, stored = shown
    assert (raw == WORLD.make(seed, SHAPES.draw(seed)).frames).all()
    assert 0 < abs(stored.astype(int) - raw).mean() < 3


def test_no_clips_are_refused():
    with pytest.raises(ConfigError, match="clips=0: expected at least 1"):
        measure_detectors("fake", 0, SHAPES)


def test_the_command_line(tmp_path):
    flags = ("--world=sprites", "--clips=6", "--frames=5,9", f"--out={tmp_path / 'seen.json'}")
    done = subprocess.run(
        [sys.executable, "-m", "tools.measure_detectors", *flags, "--workers=1"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    measured = json.loads((tmp_path / "seen.json").read_text())
    assert "*.color" in done.stdout and measured["raw"]["*.color"]["right"] > 0.5
