import io
import struct
from fractions import Fraction
from functools import partial

import av
import numpy as np
import pytest
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter
from films import numbered, numbers
from PIL import Image

from videodit.config import ConfigError
from videodit.data.video.files import (
    KEYFRAME_EVERY,
    VideoInfo,
    View,
    decode,
    encode,
    fits,
    probe,
    read_clip,
    read_frames,
    resize,
    whole,
    write_video,
)


def waves(frames=17, height=40, width=56):
    """A smooth moving pattern in all three channels."""
    t, y, x = np.meshgrid(*map(np.arange, (frames, height, width)), indexing="ij")
    channels = (np.sin((x + 2 * t) / 9), np.cos((y - t) / 8), np.sin((x + y + t) / 11))
    return (128 + 90 * np.stack(channels, -1)).round().astype(np.uint8)


def write(
    path,
    frames,
    rate=24,
    codec="libx264",
    pixels="yuv420p",
    stamps=None,  # when each frame is shown, in milliseconds
    space=Colorspace.ITU601,
    extent=ColorRange.MPEG,
    tagged=False,  # whether the file says its space and extent
    **options,
):
    """Encodes frames with PyAV."""
    convert = partial(
        VideoReformatter().reformat, format=pixels, dst_colorspace=space, dst_color_range=extent
    )
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], pixels
        stream.options = {name.replace("_", "-"): value for name, value in options.items()}
        if stamps:
            stream.codec_context.time_base = Fraction(1, 1000)
        if tagged:
            stream.codec_context.colorspace = 1 if space == Colorspace.ITU709 else 6
            stream.codec_context.color_range = extent
        for i, frame in enumerate(np.ascontiguousarray(frames)):
            picture = convert(av.VideoFrame.from_ndarray(frame, format="rgb24"))
            if stamps:
                picture.pts, picture.time_base = stamps[i], Fraction(1, 1000)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())


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


def test_names_that_look_like_urls(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("12:30.mp4", "file:a.mp4", "50%d.mp4", "http:b.mp4"):
        (tmp_path / name).write_bytes(encode(waves(3), 8))
        assert probe(name).frames == 3
        with pytest.raises(ConfigError, match=f"^{name}: "):
            read_clip(name, whole(4, 40, 56), 8)


def test_probe_counts_frames_that_the_container_does_not_state(tmp_path):
    path = tmp_path / "clip.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height = 56, 40
        for frame in waves(7):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    assert probe(path) == VideoInfo(56, 40, 7, 10.0)


X265 = ":log-level=none:pools=none:frame-threads=1"  # with threads it may crash on small frames
STREAMS = {
    "short groups": ("a.mp4", dict(g="6", bf="0")),
    "one long group with B-frames": ("a.mp4", dict(g="250", bf="3", rate=Fraction(30000, 1001))),
    "open groups": ("a.mp4", dict(g="6", bf="3", x264_params="open-gop=1:b-pyramid=normal")),
    "no keyframes but a moving wall": ("a.mkv", dict(g="6", x264_params="intra-refresh=1")),
    "time stamps in whole milliseconds": ("a.mkv", dict(g="6", rate=Fraction(30000, 1001))),
    "fragments": ("a.mp4", dict(g="6", movflags="frag_keyframe+empty_moov")),
    "a transport stream": ("a.ts", dict(g="6", bf="2")),
    "MPEG-2 in a transport stream": ("a.ts", dict(codec="mpeg2video", g="6", bf="2", qscale="2")),
    "no time stamps, in AVI": ("a.avi", dict(g="6", bf="2")),
    "no container": ("a.h264", dict(g="6", rate=25)),
    "HEVC": ("a.mp4", dict(codec="libx265", x265_params="keyint=6:bframes=3" + X265)),
    "VP9 with hidden frames": ("a.webm", dict(codec="libvpx-vp9", g="6", cpu_used="8")),
}


@pytest.mark.parametrize("name", STREAMS)
def test_a_view_is_exactly_the_frames_that_it_names(tmp_path, name):
    path, options = tmp_path / STREAMS[name][0], STREAMS[name][1]
    write(path, numbered(20), **options)
    info = probe(path)
    assert info[:3] == (64, 48, 20) and info.fps == pytest.approx(float(options.get("rate", 24)))
    for start in range(20):
        for stride in (1, 3):
            expected = list(range(start, 20, stride))
            view = View(start, stride, len(expected), 48, 64)
            assert numbers(read_clip(path, view, info.fps)) == expected, (start, stride)
    with pytest.raises(ConfigError, match=r"a\..*cut short, frame 20"):
        read_clip(path, View(12, 1, 9, 48, 64), info.fps)


def spoil(data, frames):
    """An mp4's bytes with zeros in these packets."""
    data = bytearray(data)
    with av.open(io.BytesIO(data)) as container:
        packets = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
    for position, size in (packets[i] for i in frames):
        data[position + 8 : position + size] = bytes(size - 8)
    return bytes(data)


def test_a_view_decodes_no_more_than_it_needs():
    broken = spoil(encode(waves(60), 12), [20, 40])  # keyframes at 0, 12, 24, 36, 48
    for start, frames in ((0, 20), (24, 16), (30, 5), (48, 12)):
        assert len(read_clip(broken, View(start, 1, frames, 40, 56), 12)) == frames
    for start, frames in ((0, 21), (23, 1), (36, 24), (47, 1)):
        with pytest.raises(ConfigError, match="encoded bytes: cannot be read as video"):
            read_clip(broken, View(start, 1, frames, 40, 56), 12)


def test_a_view_of_open_groups_starts_at_a_keyframe(tmp_path):
    path = tmp_path / "a.mp4"
    groups = "keyint=10:min-keyint=10:scenecut=0:bframes=3:open-gop=1" + X265
    write(path, numbered(40), codec="libx265", x265_params=groups)
    path.write_bytes(spoil(path.read_bytes(), [0]))
    with pytest.raises(ConfigError, match="cannot be read as video"):
        read_clip(path, View(0, 1, 1, 48, 64), 24)
    for start in (11, 18, 19, 20, 35):
        view = View(start, 1, 40 - start, 48, 64)
        assert numbers(read_clip(path, view, 24)) == list(range(start, 40))


def test_a_variable_frame_rate_is_sampled_at_the_clip_s_own(tmp_path):
    path = tmp_path / "a.mp4"
    stamps = [0, 40, 80, 100, 120, 140, 300, 340, 500, 540]  # ms
    write(path, numbered(10), stamps=stamps, g="4", bf="2")
    # Every 40 ms the last frame that started by then, or 16 ms later.
    expected = [0, 1, 2, 4, 5, 5, 5, 5, 6, 7, 7, 7, 7]
    for start in (0, 5, 9):
        view = View(start, 1, 13 - start, 48, 64)
        assert numbers(read_clip(path, view, 25.0)) == expected[start:]
    assert probe(path).frames == 10


def test_frames_that_an_edit_list_cuts_off_are_not_counted(tmp_path):
    """As phones trim: the file starts at a keyframe, and its first frames are not shown."""
    source, path = tmp_path / "a.mp4", tmp_path / "b.mp4"
    write(source, numbered(30), g="10", bf="2", x264_params="keyint=10:min-keyint=10")
    options = {"avoid_negative_ts": "disabled"}
    with av.open(str(source)) as whole, av.open(str(path), "w", options=options) as trimmed:
        stream = trimmed.add_stream_from_template(whole.streams.video[0])
        frame = int(1 / 24 / whole.streams.video[0].time_base)
        for packet in whole.demux(video=0):
            if packet.size and packet.pts >= 10 * frame:
                packet.pts, packet.dts = packet.pts - 13 * frame, packet.dts - 13 * frame
                packet.stream = stream
                trimmed.mux(packet)
    assert probe(path) == VideoInfo(64, 48, 17, 24.0)
    for start in (0, 1, 8):
        view = View(start, 1, 17 - start, 48, 64)
        found = read_clip(path, view, 24, expected=(17, 48, 64))
        assert numbers(found) == list(range(13 + start, 30))


def test_the_frame_rate_of_an_unsteady_matroska_file_is_its_mean(tmp_path):
    stamps = [0, 40, 80, 120, 160, 200, 1000, 1040]
    write(tmp_path / "a.mkv", numbered(8), rate=25, stamps=stamps)
    info = probe(tmp_path / "a.mkv")
    assert info.frames == 8 and info.fps == pytest.approx(8 / 1.08, rel=0.01)


@pytest.mark.parametrize("pixels, size", [("yuv420p", 0), ("yuv420p10le", 0), ("yuv444p", 1)])
@pytest.mark.parametrize("space", [Colorspace.ITU709, Colorspace.ITU601])
@pytest.mark.parametrize("extent", [ColorRange.MPEG, ColorRange.JPEG])
def test_colours_are_those_of_the_tags(tmp_path, pixels, size, space, extent):
    squares = np.zeros((1, 64 + size, 64 + size, 3), np.uint8)
    squares[:, :32, :32], squares[:, :32, 32:], squares[:, 32:] = (200, 40, 40), (40, 200, 40), 220
    colours = dict(pixels=pixels, space=space, extent=extent, tagged=True)
    write(tmp_path / "a.mp4", squares, **colours, crf="1")
    whole_size = read_clip(tmp_path / "a.mp4", whole(*squares.shape[:3]), 24)
    half_size = read_clip(tmp_path / "a.mp4", View(0, 1, 1, 32, 32), 24)
    for y, x in ((8, 8), (8, 56), (56, 30)):
        assert error(whole_size[0, y, x], squares[0, y, x]) < 3
        assert error(half_size[0, y // 2, x // 2], squares[0, y, x]) < 3


@pytest.mark.parametrize("height, space", [(480, Colorspace.ITU601), (720, Colorspace.ITU709)])
def test_without_tags_large_videos_are_in_bt709(tmp_path, height, space):
    green = np.full((1, height, 64, 3), (40, 200, 40), np.uint8)
    write(tmp_path / "a.mp4", green, space=space, crf="1")
    assert next(decode(tmp_path / "a.mp4")).colorspace == 2  # unknown
    assert error(read_frames(tmp_path / "a.mp4"), green) < 2


def turned(data, matrix):
    """An mp4's bytes with another display matrix (a, b, c, d) in its track header."""
    a, b, c, d = (value << 16 for value in matrix)
    start = data.index(b"tkhd") + 44
    return data[:start] + struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30) + data[start + 36 :]


@pytest.mark.parametrize(
    "matrix, turn",
    [
        ((0, 1, -1, 0), lambda x: np.rot90(x, -1, (1, 2))),  # as phones held upright write it
        ((-1, 0, 0, -1), lambda x: np.rot90(x, 2, (1, 2))),
        ((0, -1, 1, 0), lambda x: np.rot90(x, 1, (1, 2))),
        ((-1, 0, 0, 1), lambda x: x[:, :, ::-1]),
        ((0, 1, 1, 0), lambda x: x.swapaxes(1, 2)),
        ((0, 0, 0, 0), lambda x: x),  # nonsense
    ],
)
def test_a_display_matrix_turns_the_picture(tmp_path, matrix, turn):
    data = encode(waves(5, 32, 64), 8)
    expected = turn(read_frames(data))
    path = tmp_path / "turned.mp4"
    path.write_bytes(turned(data, matrix))
    size = (5, *expected.shape[1:3])
    assert probe(path) == VideoInfo(size[2], size[1], 5, 8.0)
    np.testing.assert_array_equal(read_clip(path, whole(*size), 8, expected=size), expected)
    # Cropped and scaled in the displayed picture: a square from its middle.
    square = read_clip(path, View(0, 1, 5, 16, 16), 8)
    y, x = (size[1] - 32) // 2, (size[2] - 32) // 2
    middle = expected[:, y : y + 32, x : x + 32].astype(float)
    assert error(square, middle.reshape(5, 16, 2, 16, 2, 3).mean((2, 4))) < 1


@pytest.mark.parametrize("name", ["a.png", "a.webp", "a.jpg"])
def test_an_image_is_a_clip_of_one_frame(tmp_path, name):
    picture = waves(1, 33, 47)
    image = Image.fromarray(picture[0])
    exif = Image.Exif()
    exif[274] = 6  # orientation: to be turned right by a quarter
    image.save(tmp_path / name, exif=exif, quality=98)
    found = read_clip(tmp_path / name, whole(1, 47, 33), 24, expected=(1, 47, 33))
    assert probe(tmp_path / name)[:3] == (33, 47, 1)
    assert error(found, np.rot90(picture, -1, (1, 2))) < 4


@pytest.mark.parametrize("name", ["a.png", "a.webp", "palette.png"])
def test_what_is_transparent_becomes_black(tmp_path, name):
    image = np.full((1, 16, 32, 4), (250, 120, 30, 255), np.uint8)
    image[:, :, 16:, 3] = 0
    picture = Image.fromarray(image[0])
    picture = picture.quantize() if name.startswith("palette") else picture
    picture.save(tmp_path / name, lossless=True)
    found = read_frames(tmp_path / name)
    assert error(found[:, :, :16], np.array([250, 120, 30])) < 2
    assert not found[:, :, 16:].any()


DAMAGE = {
    "nothing": lambda data: b"",
    "zero bytes": lambda data: bytes(len(data)),
    "the start only": lambda data: data[:100],
    "cut in the middle": lambda data: data[: len(data) // 2],
    "cut near the end": lambda data: data[: int(0.98 * len(data))],
    "a wrong header": lambda data: b"RIFF" + bytes(range(256)) + data[260:],
    "zeros in the middle": lambda data: (
        data[: len(data) // 2] + bytes(400) + data[len(data) // 2 + 400 :]
    ),
    "no video": lambda data: b"not a film" * 100,
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_named(tmp_path, damage):
    path = tmp_path / "broken.mp4"
    clip = np.random.default_rng(0).integers(0, 255, (9, 64, 64, 3), np.uint8)
    write_video(path, clip, 12)
    path.write_bytes(DAMAGE[damage](path.read_bytes()))
    for read in (read_frames, lambda file: read_clip(file, whole(9, 64, 64), 12.0)):
        with pytest.raises(ConfigError, match=r"broken\.mp4: "):
            read(path)


def test_a_file_without_pictures_is_refused(tmp_path):
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), "fltp", "mono")
        silence.rate = 16000
        container.mux(stream.encode(silence))
        container.mux(stream.encode())
    with pytest.raises(ConfigError, match=r"sound\.mp4: holds no video"):
        read_clip(tmp_path / "sound.mp4", whole(1, 8, 8), 12)
    for bad in (tmp_path / "absent.mp4", tmp_path, b"junk"):
        with pytest.raises(ConfigError, match="cannot be read as video"):
            read_clip(bad, whole(1, 8, 8), 12)
    with pytest.raises(ConfigError, match="frames"):
        encode(np.zeros((4, 8, 8)), 8)


def test_metadata_that_are_not_utf8_leave_the_frames_or_are_named(tmp_path):
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        container.metadata["title"] = "titleXXXX"
        stream = container.add_stream("mpeg4", rate=24)
        stream.width, stream.height = 64, 48
        picture = av.VideoFrame.from_ndarray(numbered(1)[0].copy(), format="rgb24")
        container.mux([*stream.encode(picture), *stream.encode()])
    data = (tmp_path / "a.mkv").read_bytes().replace(b"XXXX", b"\xe9\xff\xfe\xe8")
    try:
        assert read_frames(data).shape == (1, 48, 64, 3)
    except ConfigError as error:  # up to PyAV 18
        assert "metadata that are not UTF-8" in str(error)


def test_what_the_catalog_says_is_compared_with_the_file():
    data = encode(waves(17, 40, 56), 12)
    view = View(3, 2, 4, 20, 28)
    read = lambda expected, fps=12: read_clip(data, view, fps, expected=expected)
    assert read((17, 40, 56)).shape == (4, 20, 28, 3)
    # 34 frames at 24 fps last as long: each is seen twice.
    assert read((34, 40, 56), 24).shape == (4, 20, 28, 3)
    for wrong, fps in (((18, 40, 56), 12), ((16, 40, 56), 12), ((17, 40, 56), 24)):
        with pytest.raises(ConfigError, match="has 17 frames of 56x40 at 12 fps"):
            read(wrong, fps)
    with pytest.raises(ConfigError, match="expected were 17 of 40x56 at 12"):
        read((17, 56, 40))


def test_nothing_is_enlarged():
    with pytest.raises(ConfigError, match="is 56x40, smaller than the 40x41"):
        read_clip(encode(waves(1), 12), View(0, 1, 1, 41, 40), 12)
    with pytest.raises(ConfigError, match="is 56x40, smaller than the 57x40"):
        resize(waves(1), View(0, 1, 1, 40, 57))


def test_a_picture_that_changes_its_size_is_refused(tmp_path):
    for name, size in (("a.ts", (48, 64)), ("b.ts", (32, 64))):
        write(tmp_path / name, numbered(6, *size), g="6", bf="0")
    both = (tmp_path / "a.ts").read_bytes() + (tmp_path / "b.ts").read_bytes()
    with pytest.raises(ConfigError, match=r"changes its picture from 64x48 .* to 64x32"):
        read_frames(both)


@pytest.mark.parametrize("size", [(33, 47), (40, 56), (20, 20), (33, 20)])
def test_frames_in_memory_are_seen_as_those_of_a_file(size):
    clip = waves(9, 40, 56)
    view = View(2, 3, 2, *size)
    found = resize(clip, view)
    assert found.dtype == np.uint8 and found.shape == (2, *size, 3)
    assert error(found, read_clip(encode(clip, 12), view, 12)) < 1.5
    with pytest.raises(ConfigError, match="frame 11 was asked for, there are 9"):
        resize(clip, view._replace(frames=4))


def test_an_odd_size_is_kept_to_the_pixel(tmp_path):
    clip = numbered(3, 33, 64)[:, :, :63]
    write(tmp_path / "a.mkv", clip, codec="ffv1", pixels="yuv420p")
    assert probe(tmp_path / "a.mkv")[:2] == (63, 33)
    found = read_clip(tmp_path / "a.mkv", whole(3, 33, 63), 24)
    assert error(found, clip) < 6  # the bars' edges lie between chroma samples


def test_fits_never_needs_enlarging():
    film = VideoInfo(1280, 720, 100, 24.0)
    assert fits(film, 1280, 720) and fits(film, 720, 720) and fits(film, 404, 720)
    assert not fits(film, 722, 722) and not fits(film, 1282, 100) and not fits(film, 406, 724)
