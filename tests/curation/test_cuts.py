import json
import re

import numpy as np
import pytest

from videodit.config import ConfigError
from videodit.curation.cuts import (
    Film,
    Shape,
    Shot,
    clip_frames,
    image_frames,
    list_cuts,
    parse_shapes,
    read_film,
    refusal,
    spans,
)
from videodit.data.video.files import VideoInfo, write_video
from videodit.data.video.timing import LATE

INFO = VideoInfo(128, 72, 1000, 24.0)


def test_shapes_are_read_and_written():
    text = "96x56x17@12,64x64x9@7.5,56x96x17,96x56x1"
    shapes = parse_shapes(text)
    assert shapes[0] == Shape(96, 56, 17, 12.0) and shapes[3] == Shape(96, 56, 1, None)
    assert ",".join(map(str, shapes)) == text


@pytest.mark.parametrize("bad", ["", "96x56", "96x56x17@", "97x56x17", "96x56x0", "8x8x1,8x8x1"])
def test_wrong_shapes_are_refused(bad):
    with pytest.raises(ConfigError, match="shapes"):
        parse_shapes(bad)


def test_clips_follow_one_another_at_their_rate():
    # 12 of 24 frames a second: every second frame; 20 frames hold 10 of them, two clips of 5.
    assert clip_frames(100, 120, 2.0, 5) == [(100, 102, 104, 106, 108), (110, 112, 114, 116, 118)]
    assert clip_frames(100, 119, 2.0, 5) == clip_frames(100, 120, 2.0, 5)
    assert clip_frames(100, 118, 2.0, 5) == [(100, 102, 104, 106, 108)]
    assert clip_frames(0, 10, 2.5, 4) == [(0, 2.5, 5, 7.5)]  # 10 of 25
    assert clip_frames(0, 9, 3.0, 4) == []
    for step in (1.0, 1.001, 1.7, 2.9971, 0.999):
        flat = np.concatenate(clip_frames(7, 300, step, 3))
        assert (np.diff(flat) >= 1).all() and flat[0] == 7 and flat[-1] <= 299
        np.testing.assert_allclose(flat, 7 + np.arange(len(flat)) * max(step, 1))


def test_images_come_from_the_middle():
    assert image_frames(100, 140, 24.0) == [(120,)]
    assert image_frames(0, 192, 24.0) == [(24,), (72,), (120,), (168,)]  # 8 s: four
    assert image_frames(5, 6, 24.0) == [(5,)]


def test_the_end_of_a_long_shot_is_for_validation():
    # 15 % of 240 frames is 36, 1.5 s; of 120 frames 18, under 1.2 s.
    assert spans(Shot(0, 240, ()), 24.0, 0.15) == [(0, 204, "train"), (204, 240, "val")]
    assert spans(Shot(0, 120, ()), 24.0, 0.15) == [(0, 120, "train")]
    assert spans(Shot(0, 240, ()), 24.0, 0.0) == [(0, 240, "train")]


def test_no_moment_of_validation_is_in_training():
    shots = [Shot(0, 333, ("a",)), Shot(333, 700, ("b",)), Shot(710, 990, ("c",))]
    shapes = parse_shapes("96x56x17@12,64x64x9@7,40x72x17@8,96x56x1,16x16x4")
    cuts = list_cuts(Film(None, "film", INFO, shots), shapes, 0.2)
    moments = {"train": set(), "val": set()}
    for cut in cuts:
        shown = np.floor(np.array(cut.frames) + LATE).astype(int)
        moments[cut.split] |= set(range(shown[0], shown[-1] + 1))
        shot = next(shot for shot in shots if shot.start <= cut.frames[0] < shot.end)
        assert cut.frames[-1] < shot.end and cut.captions == shot.captions
        assert cut.fps == (cut.shape.fps or 24.0) and len(cut.frames) == cut.shape.frames
    assert moments["train"] and moments["val"] and not moments["train"] & moments["val"]
    assert {cut.shape for cut in cuts if cut.split == "val"} == set(shapes)
    assert [cut.frames for cut in cuts] == sorted(cut.frames for cut in cuts)


def test_nothing_is_enlarged_or_doubled():
    assert refusal(Shape(128, 72, 9, 24.0), INFO) is None
    assert "larger than the film, 128x72" in refusal(Shape(74, 74, 9, 24.0), INFO)
    assert "more frames per second" in refusal(Shape(64, 64, 9, 30.0), INFO)
    assert refusal(Shape(64, 64, 9, 24.0), INFO._replace(fps=23.976)) is None
    assert list_cuts(Film(None, "", INFO, [Shot(0, 99, ())]), [Shape(256, 144, 1, None)], 0.1) == []


@pytest.fixture
def film(tmp_path):
    write_video(tmp_path / "film.mp4", np.zeros((30, 16, 16, 3), np.uint8), 24)
    return tmp_path / "film.mp4"


def test_a_film_without_captions_is_one_shot(film):
    assert read_film(film, "x").shots == [Shot(0, 30, ())]


def test_shots_and_captions_are_read(film):
    lines = [{"start": 10, "end": 30, "captions": ["one", "two"]}, {"start": 0, "end": 9}]
    lines[1] |= {"caption": "first", "fps": 24, "shot": 7}
    film.with_suffix(".jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n\n")
    assert read_film(film, "x").shots == [Shot(0, 9, ("first",)), Shot(10, 30, ("one", "two"))]


@pytest.mark.parametrize(
    "line, message",
    [
        ("not json", "is not JSON"),
        ("[0, 9]", "an object of fields"),
        ('{"start": 0, "end": 9}', "caption=None"),
        ('{"start": 9, "end": 31, "caption": "a"}', "0 <= start < end <= 30"),
        ('{"start": 9, "end": 9, "caption": "a"}', "0 <= start < end <= 30"),
        (
            '{"start": 0.5, "end": 9, "caption": "a"}',
            "start=0.5: expected a whole number",
        ),
        ('{"start": 0, "end": "9", "caption": "a"}', "end='9': expected a whole number of frames"),
        ('{"start": true, "end": 9, "caption": "a"}', "start=True"),
        ('{"start": 0, "end": 9, "captions": "一只红色的狐狸"}', "captions='一只.*a list of texts"),
        ('{"start": 0, "end": 9, "caption": ["a"]}', "caption="),
        ('{"start": 0, "end": 9, "caption": "\\ud800"}', "caption="),
        ('{"start": 0, "end": 9, "caption": "a", "fps": "24"}', "fps='24': expected a number"),
        ('{"start": 0, "end": 9, "caption": "a", "fps": NaN}', "fps=nan"),
        ('{"start": 0, "end": 9, "caption": "a", "fps": 25}', "the film's 24"),
        ('{"start": 0, "end": 9, "caption": " "}', "not empty"),
        ('{"start": 0, "end": 9, "captions": []}', "a list of texts"),
        ('{"start": 0, "end": 9, "captions": [3]}', "not empty"),
    ],
)
def test_a_wrong_line_is_named_and_left_out(film, line, message, capsys):
    good = '{"start": 20, "end": 30, "caption": "fine"}\n'
    film.with_suffix(".jsonl").write_text(good + line)
    assert read_film(film, "x").shots == [Shot(20, 30, ("fine",))]
    assert re.search(rf"left out: .*film\.jsonl, line 2: .*{message}", capsys.readouterr().out)


def test_a_shot_that_overlaps_an_earlier_one_is_left_out(film, capsys):
    shots = [{"start": 0, "end": 15, "caption": "a"}, {"start": 14, "end": 30, "caption": "b"}]
    film.with_suffix(".jsonl").write_text("\n".join(map(json.dumps, shots)))
    assert read_film(film, "x").shots == [Shot(0, 15, ("a",))]
    assert "line 2: start, end=(14, 30): expected no overlap with" in capsys.readouterr().out


@pytest.mark.parametrize("data", [b"", b"\n\n", b"{\n[]", b"\0\0"])
def test_a_film_whose_file_has_no_usable_shot_is_left_out(film, data):
    film.with_suffix(".jsonl").write_bytes(data)
    with pytest.raises(ConfigError, match=r"film\.jsonl: expected a shot a line"):
        read_film(film, "x")


def test_only_newlines_separate_shots(film):
    text, shot = "a\u2028b\x0cc", {"start": 0, "end": 9}
    line = json.dumps(shot | {"caption": text}, ensure_ascii=False)
    film.with_suffix(".jsonl").write_bytes(b"\xef\xbb\xbf" + line.encode() + b"\r\n")
    assert read_film(film, "x").shots == [Shot(0, 9, (text,))]
