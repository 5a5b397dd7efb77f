import io

import av
import numpy as np
import pytest

from videodit.config import ConfigError
from videodit.data.video import (
    KEYFRAME_EVERY,
    VideoInfo,
    View,
    cropper,
    decode,
    encode,
    fits,
    probe,
    read_clip,
    read_frames,
    write_video,
)


def waves(frames=17, height=40, width=56):
    """A smooth moving pattern in all three channels."""
    t, y, x = np.meshgrid(*map(np.arange, (frames, height, width)), indexing="ij")
    channels = (np.sin((x + 2 * t) / 9), np.cos((y - t) / 8), np.sin((x + y + t) / 11))
    return (128 + 90 * np.stack(channels, -1)).round().astype(np.uint8)


def error(a, b):
    return np.abs(a.astype(float) - b).mean()


@pytest.mark.parametrize("size", [(17, 40, 56), (1, 32, 64), (5, 33, 47)])
def test_a_clip_comes_back_nearly_lossless(size):
    clip = waves(*size)
    back = read_frames(encode(clip, 12))
    assert back.dtype == np.uint8 and back.shape == clip.shape
    # 8-bit YUV alone costs 0.4 levels; a neighbouring frame differs by several.
    assert error(back, clip) < 1.5
    assert np.abs((back - clip.astype(float)).mean((0, 1, 2))).max() < 0.3  # no tint


def test_colors_keep_their_order_and_value():
    for color in ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0)):
        clip = np.full((2, 16, 16, 3), color, np.uint8)
        assert error(read_frames(encode(clip, 8)), clip) < 3


def test_a_clip_has_keyframes_and_no_b_frames():
    with av.open(io.BytesIO(encode(waves(30), 24))) as container:
        stream = container.streams.video[0]
        packets = [packet for packet in container.demux(stream) if packet.size]
        keys = [i for i, packet in enumerate(packets) if packet.is_keyframe]
        assert stream.codec_context.name == "h264" and not stream.codec_context.has_b_frames
    assert [packet.dts for packet in packets] == [packet.pts for packet in packets]
    assert max(np.diff(keys + [30])) <= KEYFRAME_EVERY


def test_a_view_is_of_frames_start_and_every_stride_th_after_it():
    clip = waves()
    data = encode(clip, 12)
    frames = read_frames(data)
    for start, stride in ((0, 1), (3, 1), (5, 4), (13, 2), (16, 1)):
        count = len(frames[start::stride])
        found = read_clip(data, View(start, stride, count, 40, 56), 12)
        np.testing.assert_array_equal(found, frames[start::stride])
        with pytest.raises(ConfigError, match="cut short"):
            read_clip(data, View(start, stride, count + 1, 40, 56), 12)


@pytest.mark.parametrize("height, width", [(40, 56), (33, 47)])
def test_a_written_video_plays_in_a_browser(tmp_path, height, width):
    path = tmp_path / "new" / "video.mp4"
    clip = waves(9, height, width)
    write_video(path, clip, 23.976)
    info = probe(path)
    assert info[:3] == (width + width % 2, height + height % 2, 9)
    assert info.fps == pytest.approx(23.976, rel=1e-4)
    with av.open(str(path)) as container:
        assert container.streams.video[0].codec_context.pix_fmt == "yuv420p"
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    assert error(read_frames(path)[:, :height, :width], clip) < 8


def test_probe_of_a_file(tmp_path):
    path = tmp_path / "clip.mp4"
    path.write_bytes(encode(waves(5, 34, 62), 12.5))
    assert probe(path) == VideoInfo(62, 34, 5, 12.5)


def test_probe_counts_frames_that_the_container_does_not_state(tmp_path):
    path = tmp_path / "clip.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height = 56, 40
        for frame in waves(7):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    assert probe(path) == VideoInfo(56, 40, 7, 10.0)


@pytest.mark.parametrize("kept", [0, 100, 0.5, 0.98])
def test_a_file_cut_short_is_named(tmp_path, kept):
    path = tmp_path / "broken.mp4"
    write_video(path, np.random.default_rng(0).integers(0, 255, (9, 64, 64, 3), np.uint8), 12)
    data = path.read_bytes()
    path.write_bytes(data[: int(kept if kept >= 1 else kept * len(data))])
    with pytest.raises(ConfigError, match=r"broken\.mp4"):
        read_frames(path)


def test_what_is_no_video_is_refused(tmp_path):
    text = tmp_path / "notes.mp4"
    text.write_text("not a film" * 100)
    for bad in (text, tmp_path / "absent.mp4", tmp_path, b"junk"):
        with pytest.raises(ConfigError, match="cannot be read as video"):
            read_frames(bad)
    with pytest.raises(ConfigError, match="frames"):
        encode(np.zeros((4, 8, 8)), 8)


def test_the_centre_is_cropped_and_averaged():
    # Left and right thirds are red and blue: a square crop from the middle is green only.
    wide = np.zeros((2, 48, 144, 3), np.uint8)
    wide[:, :, :48, 0], wide[:, :, 48:96, 1], wide[:, :, 96:, 2] = 200, 200, 200
    frames = list(decode(encode(wide, 8)))
    crop = cropper(frames[0], 24, 24)
    for frame in frames:  # one graph serves frame after frame
        square = crop(frame)
        assert square.shape == (24, 24, 3) and square.dtype == np.uint8
        assert error(square[:, 2:-2], np.array([0, 200, 0])) < 4
    stripes = np.zeros((1, 48, 48, 3), np.uint8)
    stripes[:, ::2] = 240
    half = cropper(frame := next(decode(encode(stripes, 8))), frame.width // 2, 24)(frame)
    assert error(half, 120) < 4


def test_fits_never_needs_enlarging():
    film = VideoInfo(1280, 720, 100, 24.0)
    assert fits(film, 1280, 720) and fits(film, 720, 720) and fits(film, 404, 720)
    assert not fits(film, 722, 722) and not fits(film, 1282, 100) and not fits(film, 406, 724)
