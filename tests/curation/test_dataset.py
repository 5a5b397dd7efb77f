import json
import os
import shutil
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from videodit.config import ConfigError
from videodit.curation.cuts import parse_shapes
from videodit.curation.dataset import curate
from videodit.data.sources.catalog import Catalog
from videodit.data.sources.folder import FolderSource
from videodit.data.sources.source import ArrayRecordSource, check_tokenizer, open_tokenizer
from videodit.data.video.files import View, whole, write_video

SHAPES = parse_shapes("32x18x5@12,16x16x4@6,18x32x3@8,32x18x1")


def levels(frames):
    """A film whose grey level tells the frame: 2 levels a frame."""
    level = (20 + 2 * np.arange(frames, dtype=np.uint8))[:, None, None, None]
    return np.broadcast_to(level, (frames, 36, 64, 3))


def read_all(source, i):
    row = source.catalog
    return source.read(i, whole(row.frames[i], row.height[i], row.width[i]))


@pytest.fixture
def videos(tmp_path):
    """A film of two captioned shots, and one in a folder that nobody described."""
    folder = tmp_path / "videos"
    write_video(folder / "film.mp4", levels(100), 24)
    shots = [
        {"start": 2, "end": 80, "caption": "A long grey shot."},
        {"start": 80, "end": 100, "captions": ["A short shot.", "It is bright."]},
    ]
    (folder / "film.jsonl").write_text("\n".join(map(json.dumps, shots)))
    write_video(folder / "more films" / "plain.mp4", levels(30) // 4, 12)
    return folder


def test_clips_hold_the_frames_that_they_should(videos, tmp_path):
    catalog = curate(videos, tmp_path / "out", SHAPES, val_fraction=0.4)
    source = ArrayRecordSource(tmp_path / "out")
    check_tokenizer(source.catalog, open_tokenizer(str(tmp_path / "out")))
    assert list(source.catalog.ids) == list(catalog.ids)
    assert len(set(catalog.ids)) == len(catalog)
    for i, name in enumerate(catalog.ids):
        film, first, shape = name.split("/")
        clip = read_all(source, i)  # checks the size and the number of frames
        rate = 24 if film == "film.mp4" else 12
        frames = int(first) + np.floor(np.arange(len(clip)) * rate / catalog.fps[i])
        expected = (20 + 2 * frames) // (1 if rate == 24 else 4)
        assert np.abs(clip.mean((1, 2, 3)) - expected).max() < 1.5, name
        assert shape == str(next(s for s in SHAPES if s[:3] == clip.shape[2:0:-1] + (len(clip),)))


def test_captions_splits_and_counts(videos, tmp_path, capsys):
    catalog = curate(videos, tmp_path / "out", SHAPES, val_fraction=0.4)
    assert "no clip is held out" not in capsys.readouterr().out
    tokenizer = open_tokenizer(str(tmp_path / "out"))
    first = np.array([int(name.split("/")[1]) for name in catalog.ids])
    film = np.array([name.startswith("film.mp4/") for name in catalog.ids])
    # 40 % of the 78 frames of the first shot are 31: frames 49 to 79; of 20, less than 1.2 s.
    assert ((catalog.split == "val") == (film & (first >= 49) & (first < 80))).all()
    assert (catalog.split == "val").sum() >= 4
    for i, captions in enumerate(catalog.captions):
        if not film[i]:
            assert "dark, mostly grey scene" in captions[0]
        elif first[i] < 80:
            assert captions == ("A long grey shot.",)
        else:
            assert captions == ("A short shot.", "It is bright.")
        assert catalog.caption_lengths[i] == tuple(len(tokenizer.encode(text)) for text in captions)


def test_motion_is_measured(videos, tmp_path):
    """Every pixel of the one film changes by 2 levels a frame, of the other by about half a one."""
    catalog = curate(videos, tmp_path / "out", SHAPES)
    still = catalog.frames == 1
    film = np.array([name.startswith("film.mp4/") for name in catalog.ids])
    assert not catalog.motion[still].any() and not catalog.static[still].any()
    levels_a_frame = 2 * 24 / catalog.fps[film & ~still]
    np.testing.assert_allclose(255 * catalog.motion[film & ~still], levels_a_frame, atol=0.7)
    assert (catalog.static[film & ~still] < 0.1).all()
    assert (catalog.static[~film & ~still] > 0.9).all()


def write_timed(path, pictures, stamps, aspect=1):
    """Frames H W 3 that are shown at these milliseconds, with pixels `aspect` wide."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"crf": "4", "bf": "2"})
        stream.height, stream.width, stream.pix_fmt = *pictures[0].shape[:2], "yuv420p"
        stream.codec_context.sample_aspect_ratio = aspect
        stream.codec_context.time_base = Fraction(1, 1000)
        for stamp, picture in zip(stamps, pictures):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame = frame.reformat(format="yuv420p")
            frame.pts, frame.time_base = stamp, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


@pytest.mark.parametrize("name", ["film.mp4", "film.mkv"])
@pytest.mark.parametrize("slow", [30, 20])  # mean rates of 15 and 16.7: steps of 3 and 3.3
def test_a_variable_frame_rate_is_sampled_by_time(tmp_path, name, slow):
    """A second at 30 frames a second, then 10 a second: five a second are 0, 6, ..., 30, 32, ..."""
    stamps = [round(1000 * i / 30) for i in range(30)] + [1000 + 100 * i for i in range(slow)]
    videos = tmp_path / "videos"
    videos.mkdir()
    write_timed(videos / name, levels(len(stamps)), stamps)
    catalog = curate(videos, tmp_path / "out", parse_shapes("64x36x9@5"), val_fraction=0)
    clip = read_all(ArrayRecordSource(tmp_path / "out"), 0)
    assert catalog.fps[0] == 5
    shown = np.array([0, 6, 12, 18, 24, 30, 32, 34, 36])
    assert np.abs(clip.mean((1, 2, 3)) - (20 + 2 * shown)).max() < 1.5
    # The folder source has the same pictures at these times: it counts frames at the mean rate.
    (videos / name).with_suffix(".txt").write_text("A film.")
    folder = FolderSource(videos, open_tokenizer(str(tmp_path / "out")))
    assert read_all(folder, 0).shape == (len(stamps), 36, 64, 3)  # what is indexed is read
    step = float(folder.catalog.fps[0]) / 5
    if slow == 30 and name == "film.mp4":
        assert step == 3
        same = folder.read(0, View(0, 3, 9, 36, 64))
        assert np.abs(same.mean((1, 2, 3)) - clip.mean((1, 2, 3))).max() < 1.5


def test_shots_of_a_variable_frame_rate_hold_their_own_frames_only(tmp_path):
    """Sidecars count the frames of the file."""
    stamps = [40 * i for i in range(25)] + [1000 + 200 * i for i in range(20)]
    write_timed(tmp_path / "film.mp4", levels(45), stamps)
    shots = [
        {"start": 0, "end": 25, "caption": "fast"},
        {"start": 25, "end": 45, "caption": "slow"},
    ]
    (tmp_path / "film.jsonl").write_text("\n".join(map(json.dumps, shots)))
    catalog = curate(tmp_path, tmp_path / "out", parse_shapes("64x36x3@5,64x36x1"), val_fraction=0)
    source = ArrayRecordSource(tmp_path / "out")
    seen = {"fast": [], "slow": []}
    for i, captions in enumerate(catalog.captions):
        seen[captions[0]] += ((read_all(source, i).mean((1, 2, 3)) - 20) / 2).tolist()
    assert max(seen["fast"]) < 24.5 < min(seen["slow"])
    first = list(catalog.captions).index(("slow",))
    clip = read_all(source, first).mean((1, 2, 3))
    assert np.abs(clip - (20 + 2 * np.array([25, 26, 27]))).max() < 1.5


def test_pixels_that_are_not_square_are_made_square(tmp_path):
    y, x = np.mgrid[:96, :96] + 0.5
    disc = np.hypot((x - 48) * 16 / 11, y - 48) < 30
    write_timed(
        tmp_path / "a.mkv",
        [np.uint8(255 * disc)[..., None].repeat(3, -1)] * 9,
        range(0, 360, 40),
        Fraction(16, 11),
    )
    curate(tmp_path, tmp_path / "out", parse_shapes("64x44x5"), val_fraction=0)
    white = read_all(ArrayRecordSource(tmp_path / "out"), 0)[0, ..., 1] > 127
    assert abs(white.any(0).sum() - white.any(1).sum()) <= 1 and white.any(0).sum() > 20


def test_captioned_files_of_other_kinds_are_counted(videos, tmp_path, capsys):
    for name in ("a.mxf", "b.MXF", "c.rm"):
        (videos / name).write_bytes(b"not read")
        (videos / name).with_suffix(".jsonl").write_text("")
    curate(videos, tmp_path / "out", SHAPES)
    printed = capsys.readouterr().out
    assert "left out: captioned files of other kinds: 2 .mxf, 1 .rm\n" in printed


def written(out):
    return {path.name: path.stat().st_mtime_ns for path in out.glob("*.array_record")}


def test_a_second_run_cuts_only_what_changed(videos, tmp_path):
    out = tmp_path / "out"
    first = curate(videos, out, SHAPES)
    shards, model = written(out), (out / "tokenizer.model").read_bytes()
    assert len(shards) == 2 and set(shards) == set(first.shard)
    assert list(curate(videos, out, SHAPES).ids) == list(first.ids)
    assert written(out) == shards
    (videos / "film.jsonl").write_text('{"start": 0, "end": 50, "caption": "Something new."}')
    again = curate(videos, out, SHAPES)
    # The new cuts of the one film are a new file; the shards of the first catalog are untouched.
    assert written(out).items() > shards.items() and len(written(out)) == 3
    assert len(set(again.shard) - set(shards)) == 1 and ("Something new.",) in again.captions
    assert all(read_all(ArrayRecordSource(out), i).any() for i in range(len(again)))
    assert (out / "tokenizer.model").read_bytes() == model
    assert {path.suffix for path in out.iterdir()} == {"", ".array_record", ".model", ".parquet"}


def test_a_broken_video_is_named_and_left_out(videos, tmp_path, capsys):
    (videos / "broken.mp4").write_bytes((videos / "film.mp4").read_bytes()[:200])
    cut_short = (videos / "film.mp4").read_bytes()
    (videos / "short.mp4").write_bytes(cut_short[: len(cut_short) - 300])
    catalog = curate(videos, tmp_path / "out", SHAPES)
    printed = capsys.readouterr().out
    assert "left out: " in printed and "broken.mp4" in printed and "short.mp4" in printed
    assert "2 videos were left out" in printed and "from 2 videos" in printed
    assert "no clip is held out for validation" in printed
    films = {name.split("/")[0] for name in catalog.ids}
    assert films == {"film.mp4", "more%20films%2Fplain.mp4"}


def test_any_name_of_a_video_makes_a_shard(videos, tmp_path, capsys):
    names = ["狐" * 43, "two words " * 19, "x" * 250, "ä"]  # the sidecar of the third cannot exist
    for name in names:
        shutil.copy(videos / "more films" / "plain.mp4", videos / f"{name}.mp4")
    os.rename(videos / "more films" / "plain.mp4", os.fsencode(videos) + b"/\xff.mp4")
    catalog = curate(videos, tmp_path / "out", parse_shapes("16x16x4@6"))
    assert all(len(shard) <= 210 and shard.isascii() for shard in set(catalog.shard))
    assert len(set(catalog.shard)) == 5 and "%C3%A4.mp4" in {x.split("/")[0] for x in catalog.ids}
    source = ArrayRecordSource(tmp_path / "out")
    assert all(read_all(source, i).shape == (4, 16, 16, 3) for i in range(len(catalog)))
    printed = capsys.readouterr().out
    assert f"left out: {videos}/\\xff.mp4: expected a name in UTF-8" in printed
    assert f"1 videos were left out: {videos}/\\xff.mp4" in printed
    printed.encode()  # nothing that a terminal could not show
    with pytest.raises(ConfigError, match=r"input='.*udcff\.mp4': expected a path in UTF-8"):
        curate(videos / "\udcff.mp4", tmp_path / "out", SHAPES)


def test_nothing_usable_is_an_error(tmp_path, videos):
    folder = tmp_path / "empty"
    folder.mkdir()
    with pytest.raises(ConfigError, match="no usable video"):
        curate(folder, tmp_path / "out", SHAPES)
    (folder / "bad.mp4").write_text("no film")
    with pytest.raises(ConfigError, match=r"no usable video.*bad\.mp4"):
        curate(folder, tmp_path / "out", SHAPES)
    with pytest.raises(ConfigError, match="no such file or folder"):
        curate(tmp_path / "absent", tmp_path / "out", SHAPES)
    with pytest.raises(ConfigError, match="shorter than every shape"):
        curate(videos, tmp_path / "out", parse_shapes("16x16x500"))
    assert not (tmp_path / "out" / "catalog.parquet").exists()


def test_a_shape_larger_than_every_film_is_refused_by_name(videos, tmp_path):
    with pytest.raises(ConfigError, match=r"^shapes='128x64x9@12': larger than the film, 64x36"):
        curate(videos, tmp_path / "out", parse_shapes("16x16x4@6,128x64x9@12"))
    with pytest.raises(ConfigError, match="16x16x4@60': more frames per second"):
        curate(videos, tmp_path / "out", parse_shapes("16x16x4@60"))


def test_a_given_tokenizer_is_used_and_clips_are_limited(videos, tmp_path):
    tokenizer = open_tokenizer("synthetic")
    tokenizer.write(tmp_path / "given")
    catalog = curate(
        videos / "film.mp4", tmp_path / "out", SHAPES, tokenizer=tmp_path / "given", max_clips=5
    )
    assert len(catalog) == 5 and catalog.tokenizer == tokenizer.digest
    assert open_tokenizer(str(tmp_path / "out")).digest == tokenizer.digest


def run(*args):
    return subprocess.run(
        [sys.executable, "-m", "tools.curate", *map(str, args)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command_line(videos, tmp_path):
    flags = (f"--input={videos}", f"--out={tmp_path / 'out'}", "--vocab_size=300")
    done = run(*flags, "--shapes=16x16x4@6,32x18x1")
    assert done.returncode == 0, done.stderr
    assert len(Catalog.read(tmp_path / "out")) > 5 and "16x16x4@6" in done.stdout
    refused = run(*flags, "--shapes=16x16")
    assert refused.returncode == 2 and "Traceback" not in refused.stderr
    assert "error: --shapes='16x16'" in refused.stderr
