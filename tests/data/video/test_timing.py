"""What is indexed can be read: probing and reading agree on the time of every frame."""

from fractions import Fraction

import av
import numpy as np
import pytest
from films import numbered, numbers
from hypothesis import given, settings
from hypothesis import strategies as st

from videodit.data.video.files import View, frames_at, probe, read_clip, survey
from videodit.data.video.timing import LATE, Times

FRAMES = 24
USUAL = 40  # ms between steady frames
MIXED = {"g": "6", "bf": "2"}  # short groups with B-frames
KINDS = {  # name of a container and codec: how it is written
    "x264.mkv": ("libx264", "yuv420p", MIXED),
    "x264.mp4": ("libx264", "yuv420p", MIXED),
    "x264.ts": ("libx264", "yuv420p", MIXED),
    "x264.flv": ("libx264", "yuv420p", MIXED),
    "x264.avi": ("libx264", "yuv420p", {"g": "6", "bf": "0"}),
    "mixed.avi": ("libx264", "yuv420p", MIXED),
    "x264.mov": ("libx264", "yuv420p", {"g": "250", "bf": "3"}),
    "vp9.webm": ("libvpx-vp9", "yuv420p", {"g": "6", "cpu-used": "8"}),
    "vp8.webm": ("libvpx", "yuv420p", {"g": "6", "cpu-used": "8"}),
    "mpeg2.ts": ("mpeg2video", "yuv420p", {"g": "6", "bf": "0", "qscale": "2"}),
    "mpeg2.mpg": ("mpeg2video", "yuv420p", {"g": "6", "bf": "2", "qscale": "2"}),
    "mpeg4.avi": ("mpeg4", "yuv420p", {"g": "6"}),
    "mpeg4.3gp": ("mpeg4", "yuv420p", {"g": "6"}),
    "mpeg4.mkv": ("mpeg4", "yuv420p", {"g": "6", "bf": "2"}),
    "wmv2.wmv": ("wmv2", "yuv420p", {"g": "6"}),
    "prores.mov": ("prores", "yuv422p10le", {}),
    "image.gif": ("gif", "rgb8", {}),
}


def write(path, kind, stamps):
    """Writes numbered frames that are shown at these milliseconds: steady ones, then re-timed."""
    codec, pixels, options = KINDS[kind]

    def at(index):
        return stamps[index] if index >= 0 else stamps[0] + USUAL * index

    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=1000 // USUAL, options=options)
        stream.height, stream.width, stream.pix_fmt = 48, 64, pixels
        pictures = np.ascontiguousarray(numbered(len(stamps)))
        frames = [av.VideoFrame.from_ndarray(picture, format="rgb24") for picture in pictures]
        for frame in [*frames, None]:
            for packet in stream.encode(frame.reformat(format=pixels) if frame else None):
                packet.pts, packet.dts = at(packet.pts), at(packet.dts)
                packet.duration, packet.time_base = USUAL, Fraction(1, 1000)
                container.mux(packet)


GAPS = {  # in usual ones
    "steady": st.just([1.0] * FRAMES),
    "dropped": st.lists(st.sampled_from([1.0] * 8 + [2.0, 3.0]), min_size=FRAMES, max_size=FRAMES),
    "doubled": st.lists(st.sampled_from([1.0] * 4 + [0.5]), min_size=FRAMES, max_size=FRAMES),
    "repeated": st.lists(st.sampled_from([1.0] * 4 + [0.0]), min_size=FRAMES, max_size=FRAMES),
    "jittered": st.lists(st.floats(0.3, 1.7), min_size=FRAMES, max_size=FRAMES),
    "slower": st.integers(1, FRAMES).map(lambda n: [1.0] * n + [4.0] * (FRAMES - n)),
}


@st.composite
def films(draw, kinds=tuple(KINDS)):
    """A kind of file and the milliseconds at which its frames are shown."""
    kind = draw(st.sampled_from(kinds))
    names = list(GAPS)
    if kind.endswith("avi"):  # counts frames, some of which are empty
        names = ["steady", "dropped", "slower"]
    elif not kind.endswith(("mkv", "webm")):  # others have no two frames of one time stamp
        names.remove("repeated")
    if kind in ("mpeg2.mpg", "mixed.avi"):  # stamps for packs of frames; none for the last frames
        names = ["steady"]
    gaps = draw(GAPS[draw(st.sampled_from(names))])
    stamps = np.cumsum([0, *gaps[1:]]) * USUAL
    return kind, stamps.round(-1 if "gif" in kind else 0).astype(int).tolist()


def shown(stamps, due):
    """The frames that a player may show at `due` seconds: two of them if the time is a border."""
    return {int(np.searchsorted(stamps, 1000 * due + slack, "right")) - 1 for slack in (-1.5, 1.5)}


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=3)
@given(data=st.data())
def test_every_frame_that_is_indexed_is_the_one_shown_at_its_time(tmp_path_factory, kind, data):
    _, stamps = data.draw(films((kind,)))
    path = tmp_path_factory.mktemp("film") / kind
    write(path, kind, stamps)
    info = probe(path)
    assert info[:3] == (64, 48, FRAMES)
    # No container tells how long the last frame lasts; the lengths of others are guesses for it.
    longest = max(np.diff(stamps).max(), USUAL)
    assert 0 < 1000 * info.frames / info.fps - stamps[-1] < longest + 0.6 * USUAL
    read = lambda start: numbers(
        read_clip(path, View(start, 1, FRAMES - start, 48, 64), info.fps, expected=(FRAMES, 48, 64))
    )
    seen = read(0)
    for k, number in enumerate(seen):
        assert number in shown(stamps, (k + LATE) / info.fps), (k, stamps, seen)
    start = data.draw(st.integers(1, FRAMES - 1))
    assert read(start) == seen[start:]


@pytest.mark.parametrize("kind", ["x264.mkv", "vp9.webm", "x264.mp4", "mixed.avi", "x264.ts"])
def test_a_frame_that_is_missing_in_twelve_seconds(tmp_path, kind):
    stamps = [USUAL * i for i in range(256) if i != 100]
    write(tmp_path / kind, kind, stamps)
    info = probe(tmp_path / kind)
    assert info.frames == 255 and info.fps == pytest.approx(255 / 10.24, rel=1e-3)
    for start in (0, 101, 250):
        view = View(start, 1, 5, 48, 64)
        read = read_clip(tmp_path / kind, view, info.fps, expected=(255, 48, 64))
        expected = [shown(stamps, (start + k + LATE) / info.fps) for k in range(5)]
        assert all(a in b for a, b in zip(numbers(read), expected))


@pytest.mark.parametrize("kind", ["x264.mp4", "x264.mkv", "x264.ts"])
def test_every_reader_has_the_same_time(tmp_path, kind):
    """Two seconds at 25 frames a second, then two at 10: a reader of five sees 0, 5, 10, ..."""
    stamps = [40 * i for i in range(50)] + [2000 + 100 * i for i in range(20)]
    write(tmp_path / kind, kind, stamps)
    info, starts = survey(tmp_path / kind)
    np.testing.assert_allclose(starts, np.array(stamps) / 1000, atol=1e-3)
    wanted = [k * info.fps / 5 for k in range(19)]
    pictures = frames_at(tmp_path / kind, wanted, info.fps)
    found = numbers(np.stack([frame.to_ndarray(format="rgb24") for frame, _ in pictures]))
    assert found == [*range(0, 50, 5), *range(50, 68, 2)]


def test_a_recording_may_begin_between_keyframes(tmp_path):
    write(tmp_path / "a.ts", "mpeg2.ts", [USUAL * i for i in range(FRAMES)])
    with av.open(str(tmp_path / "a.ts")) as whole:
        places = [packet.pos for packet in whole.demux(video=0) if packet.size]
    data = (tmp_path / "a.ts").read_bytes()
    header = data[: places[0] // 188 * 188]
    cut = header + data[places[2] // 188 * 188 :]  # the next keyframe is frame 6
    info = probe(cut)
    assert info.frames == FRAMES - 6 and info.fps == 25
    for start in (0, 4):
        view = View(start, 1, FRAMES - 6 - start, 48, 64)
        assert numbers(read_clip(cut, view, 25.0)) == list(range(6 + start, FRAMES))


def test_a_stated_rate_is_the_mean_or_is_not_used():
    steady = Times([k / 25 for k in range(300)], 12.0, 300)
    assert steady.rate(25.0) == 25.0 and steady.rate(None) == pytest.approx(25)
    assert steady._replace(end=12.04).rate(25.0) == pytest.approx(300 / 12.04)
    assert steady._replace(end=11.96).rate(25.0) == pytest.approx(300 / 11.96)
