"""Hostile media: a truncated, overwritten, empty or misnamed file is named, and costs no more."""

import io
import logging
import os
import resource
import time

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from videodit.config import ConfigError
from videodit.curation.cuts import parse_shapes
from videodit.curation.dataset import curate
from videodit.data.sources.folder import FolderSource
from videodit.data.sources.source import open_tokenizer
from videodit.data.video.files import probe, read_clip, read_frames, whole

MEMORY = 2**30  # bytes beyond what the process has: the most that hostile files may cost
SECONDS = 10  # per file
VIDEOS = {  # suffix: codec and pixels
    "mp4": ("libx264", "yuv420p"),
    "mkv": ("libx264", "yuv420p"),
    "webm": ("libvpx-vp9", "yuv420p"),
    "ts": ("mpeg2video", "yuv420p"),
    "avi": ("mpeg4", "yuv420p"),
    "wmv": ("wmv2", "yuv420p"),
    "gif": ("gif", "rgb8"),
}
PHOTOS = ("png", "jpg", "webp", "tiff", "avif")


def video(suffix, frames=10, height=32, width=48):
    """The bytes of a small video of noise."""
    codec, pixels = VIDEOS[suffix]
    noise = np.random.default_rng(0).integers(0, 255, (frames, height, width, 3), np.uint8)
    buffer = io.BytesIO()
    buffer.name = f"a.{suffix}"
    with av.open(buffer, "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width, stream.pix_fmt = height, width, pixels
        for picture in noise:
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            container.mux(stream.encode(frame.reformat(format=pixels)))
        container.mux(stream.encode())
    return buffer.getvalue()


def photo(suffix):
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (32, 48, 3), np.uint8)
    Image.fromarray(noise).save(buffer, {"jpg": "jpeg"}.get(suffix, suffix))
    return buffer.getvalue()


@pytest.fixture(scope="module")
def good():
    """Suffix -> the bytes of a sound file."""
    return {suffix: video(suffix) for suffix in VIDEOS} | {name: photo(name) for name in PHOTOS}


def flipped(data, rng, count=8):
    spoilt = bytearray(data)
    for place in rng.integers(0, len(data), count):
        spoilt[place] ^= int(rng.integers(1, 256))
    return bytes(spoilt)


FAULTS = {
    "cut": lambda data, rng: data[: int(rng.integers(1, len(data)))],
    "flipped": flipped,
    "flipped_head": lambda data, rng: flipped(data[:200], rng, 4) + data[200:],
    "zeros": lambda data, rng: data[: len(data) // 3] + bytes(len(data) - len(data) // 3),
    "empty": lambda data, rng: b"",
}


@pytest.fixture
def bounded():
    """No more memory than MEMORY beyond what is in use."""
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, hard))
    yield
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@pytest.fixture
def hostile(tmp_path, good):
    """A folder of 65 captioned hostile files, and one that is sound."""
    folder = tmp_path / "films"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for suffix, data in good.items():
        for fault, spoil in FAULTS.items():
            (folder / f"{fault}_{suffix}.{suffix}").write_bytes(spoil(data, rng))
    for k, (suffix, data) in enumerate(zip(list(good) * 2, list(good.values())[1:6])):
        (folder / f"misnamed{k}.{suffix}").write_bytes(data)
    (folder / "sound.mp4").write_bytes(good["mp4"])
    for path in list(folder.iterdir()):
        path.with_suffix(".txt").write_text("A caption.")
    return folder


def test_a_folder_of_hostile_files(hostile, bounded, caplog):
    start = time.monotonic()
    with caplog.at_level(logging.INFO):
        source = FolderSource(hostile, open_tokenizer("synthetic"))
    catalog = source.catalog
    assert "sound.mp4" in list(catalog.ids) and len(catalog) < 66
    for i, name in enumerate(catalog.ids):
        try:
            size = int(catalog.frames[i]), int(catalog.height[i]), int(catalog.width[i])
            assert source.read(i, whole(*size)).shape == (*size, 3)
        except ConfigError as error:
            assert name in str(error)
    left_out = {line for line in caplog.messages if line.startswith("left out: ")}
    assert len(left_out) == 66 - len(catalog)
    assert all(len(line.splitlines()) == 1 for line in left_out)
    assert "more memory" not in caplog.text
    assert time.monotonic() - start < SECONDS * 6


def test_curation_of_hostile_files(hostile, bounded, tmp_path, capsys):
    start = time.monotonic()
    catalog = curate(hostile, tmp_path / "out", parse_shapes("32x32x4,16x16x1"), vocab_size=300)
    assert any(name.startswith("sound.mp4/") for name in catalog.ids)
    printed = capsys.readouterr().out
    assert "left out: " in printed and "Traceback" not in printed and "more memory" not in printed
    assert time.monotonic() - start < SECONDS * 6


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_bytes_that_are_not_what_they_were(good, bounded, data):
    suffix = data.draw(st.sampled_from(sorted(good)))
    spoilt = bytearray(good[suffix])
    for _ in range(data.draw(st.integers(0, 6))):
        spoilt[data.draw(st.integers(0, len(spoilt) - 1))] = data.draw(st.integers(0, 255))
    spoilt = bytes(spoilt[: data.draw(st.integers(0, len(spoilt)))])
    start = time.monotonic()
    try:
        info = probe(spoilt)
        if info.height * info.width < 2**20 and info.frames < 100:
            read_clip(spoilt, whole(info.frames, info.height, info.width), info.fps)
            read_frames(spoilt)
    except ConfigError as error:
        assert "encoded bytes: " in str(error) and "more memory" not in str(error)
    assert time.monotonic() - start < SECONDS


def test_a_pipe_is_not_waited_for(tmp_path):
    for name in ("a.mp4", "a.tiff"):
        os.mkfifo(tmp_path / name)
        with pytest.raises(ConfigError, match="cannot be read as video: not a file"):
            probe(tmp_path / name)


def test_a_header_that_claims_a_huge_picture_costs_nothing(bounded):
    png = bytearray(photo("png"))
    png[16:24] = (60000).to_bytes(4, "big") * 2
    with pytest.raises(ConfigError, match="encoded bytes: "):
        probe(bytes(png))
