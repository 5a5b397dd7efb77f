import hashlib
import json
import logging
import os
import pickle
import shutil

import numpy as np
import pytest
from PIL import Image

from videodit.config import ConfigError, DataConfig
from videodit.data.sources import folder as folder_module
from videodit.data.sources.folder import FolderSource
from videodit.data.sources.indexing import split_of
from videodit.data.sources.source import open_source, open_tokenizer
from videodit.data.tokenizer import train_tokenizer
from videodit.data.video.files import View, whole, write_video

TOKENIZER = open_tokenizer("synthetic")
LEVEL = 20  # grey of the first frame of a video; each next one is 10 brighter


def write_level_video(path, frames=6, fps=8, width=48, height=32):
    levels = (LEVEL + 10 * np.arange(frames, dtype=np.uint8))[:, None, None, None]
    write_video(path, np.broadcast_to(levels, (frames, height, width, 3)), fps)


@pytest.fixture
def folder(tmp_path):
    """Two videos and an image with captions, a video without, and a broken one."""
    root = tmp_path / "films"
    write_level_video(root / "a.mp4")
    (root / "a.txt").write_text("It gets brighter.\n\n  From dark to light. \n")
    write_level_video(root / "more films" / "b.MKV", fps=12, width=32)
    (root / "more films" / "b.json").write_text('{"caption": "Ä grey film.", "source": "b"}')
    Image.fromarray(np.full((24, 40, 3), (200, 10, 10), np.uint8)).save(root / "red.png")
    (root / "red.json").write_text('{"captions": ["red", "a red picture"]}')
    write_level_video(root / "bare.mp4")
    (root / "broken.mp4").write_bytes((root / "a.mp4").read_bytes()[:300])
    (root / "broken.txt").write_text("Never seen.")
    (root / "notes.txt").write_text("Of nothing.")
    return root


def read(source, i):
    row = source.catalog
    return source.read(i, whole(row.frames[i], row.height[i], row.width[i]))


def test_clips_are_the_captioned_files(folder, caplog):
    with caplog.at_level(logging.INFO):
        source = FolderSource(folder, TOKENIZER)
    catalog = source.catalog
    assert list(catalog.ids) == ["a.mp4", "more films/b.MKV", "red.png"]
    assert list(catalog.captions) == [
        ("It gets brighter.", "From dark to light."),
        ("Ä grey film.",),
        ("red", "a red picture"),
    ]
    for captions, counts in zip(catalog.captions, catalog.caption_lengths):
        assert counts == tuple(len(TOKENIZER.encode(text)) for text in captions)
    assert catalog.width.tolist() == [48, 32, 40] and catalog.height.tolist() == [32, 32, 24]
    assert catalog.frames.tolist() == [6, 6, 1] and catalog.fps[:2].tolist() == [8, 12]
    np.testing.assert_allclose(catalog.motion, [10 / 255, 10 / 255, 0], atol=2e-3)
    assert catalog.static.tolist() == [0, 0, 0]
    assert "left out: " in caplog.text and "broken.mp4" in caplog.text
    assert "captioned files of other kinds" not in caplog.text
    assert "1 of 5 files have no captions and are left out, such as bare.mp4" in caplog.text


def test_captioned_files_of_other_kinds_are_counted(folder, caplog):
    for name in ("c.heic", "d.HEIC", "e.psd"):
        (folder / name).write_bytes(b"not read")
        (folder / name).with_suffix(".txt").write_text("A caption.")
    assert len(FolderSource(folder, TOKENIZER).catalog) == 3
    lines = [line for line in caplog.messages if "other kinds" in line]
    assert lines == [f"{folder}: captioned files of other kinds are left out: 2 .heic, 1 .psd"]


def test_clips_are_read_as_views(folder):
    source = pickle.loads(pickle.dumps(FolderSource(folder, TOKENIZER)))
    clip = read(source, 0)
    assert clip.shape == (6, 32, 48, 3)
    assert np.abs(clip.mean((1, 2, 3)) - LEVEL - 10 * np.arange(6)).max() < 2
    part = source.read(1, View(1, 2, 2, 16, 16))
    assert part.shape == (2, 16, 16, 3)
    assert np.abs(part.mean((1, 2, 3)) - [LEVEL + 10, LEVEL + 30]).max() < 2
    np.testing.assert_array_equal(read(source, 2)[0, 0, 0], [200, 10, 10])


def test_a_file_that_changes_or_goes_after_the_index_is_named(folder):
    source = FolderSource(folder, TOKENIZER)
    write_level_video(folder / "a.mp4", width=64)
    with pytest.raises(ConfigError, match=r"a\.mp4: .*64x32"):
        read(source, 0)
    (folder / "red.png").unlink()
    with pytest.raises(ConfigError, match=r"red\.png"):
        read(source, 2)


@pytest.fixture
def measured(monkeypatch):
    """Names of the files that are measured from now on."""
    names, measure = [], folder_module._measured

    def note(folder, name):
        names.append(name)
        return measure(folder, name)

    monkeypatch.setattr(folder_module, "_measured", note)
    return names


def test_only_what_is_new_or_changed_is_measured_again(folder, measured):
    (folder / "broken.txt").unlink()
    first = FolderSource(folder, TOKENIZER)
    assert sorted(measured) == ["a.mp4", "more films/b.MKV", "red.png"]
    index = folder / ".videodit" / "catalog.parquet"
    written = index.stat().st_mtime_ns
    measured.clear()
    again = FolderSource(folder, TOKENIZER)
    assert measured == [] and index.stat().st_mtime_ns == written
    assert list(again.catalog.ids) == list(first.catalog.ids)

    write_level_video(folder / "a.mp4", frames=4)
    shutil.copy(folder / "red.png", folder / "b.png")
    (folder / "b.txt").write_text("also red")
    (folder / "red.json").write_text('{"caption": "red again"}')
    (folder / "more films" / "b.MKV").unlink()
    source = FolderSource(folder, TOKENIZER)
    assert sorted(measured) == ["a.mp4", "b.png"]  # new captions are not a reason to decode
    assert list(source.catalog.ids) == ["a.mp4", "b.png", "red.png"]
    assert source.catalog.frames.tolist() == [4, 1, 1]
    assert source.catalog.captions[2] == ("red again",)


def test_another_tokenizer_only_counts_again(folder, measured):
    FolderSource(folder, TOKENIZER)
    measured.clear()
    other = train_tokenizer(["It gets brighter and brighter. A red picture."], 310)
    source = open_source(DataConfig(catalog=str(folder)), other)
    assert measured == ["broken.mp4"]  # which is tried again
    assert source.catalog.tokenizer == other.digest
    assert source.catalog.caption_lengths[0][0] == len(other.encode("It gets brighter."))


def test_the_filter_is_over_the_index(folder):
    source = FolderSource(folder, TOKENIZER, where="aspect > 1 and seconds > 0.1")
    assert list(source.catalog.ids) == ["a.mp4"] and read(source, 0).shape == (6, 32, 48, 3)


def test_one_in_twenty_is_held_out_whatever_else_there_is(tmp_path):
    image = Image.fromarray(np.zeros((8, 8, 3), np.uint8))
    for i in range(300):
        image.save(tmp_path / f"{i}.png")
        (tmp_path / f"{i}.txt").write_text("black")
    catalog = FolderSource(tmp_path, TOKENIZER).catalog
    held_out = {name for name, split in zip(catalog.ids, catalog.split) if split == "val"}
    assert 5 <= len(held_out) <= 28  # 15 are expected; the bounds are 3.5 standard deviations
    for i in range(0, 300, 2):
        (tmp_path / f"{i}.png").unlink()
    catalog = FolderSource(tmp_path, TOKENIZER).catalog
    kept = {name for name, split in zip(catalog.ids, catalog.split) if split == "val"}
    assert len(catalog) == 150 and kept == held_out & set(catalog.ids)


def held_out(folder, fraction):
    catalog = open_source(DataConfig(catalog=str(folder), val_fraction=fraction), TOKENIZER).catalog
    return {name for name, split in zip(catalog.ids, catalog.split) if split == "val"}


def test_the_share_that_is_held_out_can_be_chosen(tmp_path):
    image = Image.fromarray(np.zeros((8, 8, 3), np.uint8))
    for i in range(100):
        image.save(tmp_path / f"{i}.png")
        (tmp_path / f"{i}.txt").write_text("black")
    some, half = held_out(tmp_path, DataConfig.val_fraction), held_out(tmp_path, 0.5)
    assert held_out(tmp_path, 0.0) == set() and some < half
    assert 33 <= len(half) <= 67  # 3.5 standard deviations
    for i in range(50):
        (tmp_path / f"{i}.png").unlink()
    assert held_out(tmp_path, 0.5) == {name for name in half if int(name[:-4]) >= 50}
    with pytest.raises(ConfigError, match=r"data\.val_fraction=1\.5: expected 0 to below 1"):
        DataConfig(val_fraction=1.5)


def test_the_split_of_a_name_never_changes():
    """SHA-256, so it is the same on any machine; at 0.05 it is as before the field existed."""
    names = [f"films/{i}.mp4" for i in range(2000)]
    numbers = [int(hashlib.sha256(name.encode()).hexdigest()[:16], 16) for name in names]
    assert [split_of(name, 0.05) for name in names] == [
        "val" if number % 100 < 5 else "train" for number in numbers
    ]
    share = sum(split_of(name, 0.0125) == "val" for name in names) / len(names)
    assert abs(share - 0.0125) < 3.5 * (0.0125 / 2000) ** 0.5


def test_a_folder_that_cannot_be_written_has_its_index_in_the_cache(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("VIDEODIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert len(FolderSource(folder, TOKENIZER).catalog) == 3
    assert len(list((tmp_path / "cache").glob("*-index/catalog.parquet"))) == 1


def test_a_remote_folder(remote, folder, tmp_path):
    shutil.copytree(folder, remote / "films")
    source = open_source(DataConfig(catalog="gs://bucket/films"), TOKENIZER)
    assert list(source.catalog.ids) == ["a.mp4", "more films/b.MKV", "red.png"]
    assert read(pickle.loads(pickle.dumps(source)), 1).shape == (6, 32, 32, 3)
    assert not (remote / "films" / ".videodit").exists()


@pytest.mark.parametrize(
    "name, text",
    [
        ("a.json", "{"),
        ("a.json", '{"captions": "one text"}'),
        ("a.json", '{"captions": [1]}'),
        ("a.json", '{"captions": []}'),
        ("a.json", '{"caption": ["a"]}'),
        ("a.json", '{"caption": "\\ud800"}'),
        ("a.json", '{"caption": "\\u0000"}'),
        ("a.json", "[" * 99999),
        ("a.txt", "\0a\0b"),
        ("a.json", '{"text": "a"}'),
        ("a.json", "[]"),
        ("a.json", '{"caption": " "}'),
        ("a.txt", "\n \n"),
    ],
)
def test_a_bad_sidecar_is_named_and_its_file_left_out(folder, caplog, name, text):
    (folder / "a.txt").unlink()
    (folder / name).write_text(text)
    assert "a.mp4" not in list(FolderSource(folder, TOKENIZER).catalog.ids)
    assert f"left out: {folder / name}: " in caplog.text


def test_captions_are_utf8_and_only_newlines_separate_them(folder, caplog):
    (folder / "a.txt").write_bytes("\ufeffone\u2028line\r\nzwölf\n".encode() + b"na\xefve\nlast")
    (folder / "red.json").write_bytes('\ufeff{"captions": ["a\u2028b", " 狐 "]}'.encode())
    catalog = FolderSource(folder, TOKENIZER).catalog
    captions = dict(zip(catalog.ids, catalog.captions))
    assert captions["a.mp4"] == ("one\u2028line", "zwölf", "last")
    assert captions["red.png"] == ("a\u2028b", "狐")
    assert f"left out: {folder}/a.txt, line 3: expected UTF-8; byte 3 is 0xef" in caplog.text


def test_a_name_that_is_not_utf8_costs_one_file(folder, caplog):
    for suffix in (".mp4", ".txt"):
        os.rename(folder / f"a{suffix}", os.fsencode(folder) + b"/\xff" + suffix.encode())
    os.rename(folder / "bare.mp4", folder / ("狐" * 70 + ".mp4"))
    (folder / ("狐" * 70 + ".txt")).write_text("a long name")
    source = FolderSource(folder, TOKENIZER)
    assert list(source.catalog.ids) == ["more films/b.MKV", "red.png", "狐" * 70 + ".mp4"]
    assert f"left out: {folder}/\\xff.mp4: expected a name in UTF-8" in caplog.text
    assert read(source, 2).shape == (6, 32, 48, 3)
    with pytest.raises(ConfigError, match=r"data\.catalog='.*udcff': expected a path in UTF-8"):
        open_source(DataConfig(catalog=f"{folder}/\udcff"), TOKENIZER)


def test_a_folder_without_clips_or_captions_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"expected videos or images in it \(.*\.mp4"):
        FolderSource(tmp_path, TOKENIZER)
    (tmp_path / "a.mp4").write_bytes(b"no video")
    with pytest.raises(ConfigError, match=r"none of its 1 .* has captions; .*such as a\.txt"):
        FolderSource(tmp_path, TOKENIZER)
    (tmp_path / "a.json").write_text(json.dumps({"caption": "nothing"}))
    with pytest.raises(ConfigError, match="none of its 1 captioned files can be read"):
        FolderSource(tmp_path, TOKENIZER)
