import functools

import numpy as np

from tools import worlds_gallery
from tools.measure_detectors import measure_detectors
from videodit.worlds.world import WORLDS, Caption, Clip

STORED = {
    "unseen": ["m*.goal", "solved"],
    "all": {"true": 8, "right": 0.75},
    "shorter side >= 0": {"true": 4, "right": 0.5},
    "shorter side >= 80": {"true": 4, "right": 1.0},
}
SEEN = {"clips": 7, "raw": {}, "stored": STORED}


def clip(level, frames=11, height=20, width=30):
    video = np.full((frames, height, width, 3), level, np.uint8)
    video[-1] = 255 - level
    caption = Caption(f"level {level}", {})
    return Clip(video, 8.0, [{}] * frames, caption, caption, {"level": str(level)})


def test_a_sheet_shows_the_first_and_the_last_frames_of_each_clip():
    shown = [clip(10), clip(60, frames=1, height=40, width=12)]
    sheet = np.asarray(worlds_gallery.contact_sheet(shown).convert("RGB"))
    gap = worlds_gallery.GAP
    assert sheet.shape == (20 + gap + 40, 6 * 30 + 5 * gap, 3)
    assert (sheet[:20, :30] == 10).all() and (sheet[:20, -30:] == 245).all()
    assert (sheet[:20, 30 : 30 + gap] == 255).all()
    assert (sheet[-40:, :12] == 195).all() and (sheet[-40:, -30:] == 255).all()


def test_the_page_has_every_caption_and_speed():
    page = worlds_gallery.page({"rooms": [clip(10), clip(60)]}, {"rooms": 1234.4}, {"rooms": SEEN})
    assert "level 10" in page and "level 60" in page and "| 1,234 |" in page
    assert "(worlds/rooms.png)" in page and "`level=10`" in page and "`level=60`" not in page


def test_the_page_says_what_detectors_see_by_size():
    lines = worlds_gallery.ceilings({"rooms": SEEN})
    assert "| world | all | 0 to 47 | 48 to 79 | from 80 |" in lines
    assert "| rooms | 75.0% | 50.0% | - | 100.0% |" in lines
    assert lines[-1] == "- rooms: `m*.goal`, `solved`" and any(" in 7 clips" in x for x in lines)


def test_every_world_is_described():
    lines = [worlds_gallery.about(name) for name in WORLDS]
    assert len(set(lines)) == len(WORLDS)
    assert all(line.endswith(".") and "\n" not in line for line in lines)


def test_sprites_are_shown(tmp_path, monkeypatch):
    in_this_process = functools.partial(measure_detectors, workers=1)
    monkeypatch.setattr(worlds_gallery, "measure_detectors", in_this_process)
    monkeypatch.setattr(worlds_gallery, "CLIPS", 2)
    worlds_gallery.make(tmp_path, ("sprites",), 2)
    assert (tmp_path / "worlds" / "sprites.png").stat().st_size > 1000
    assert "## sprites" in (tmp_path / "worlds.md").read_text()
