import av
import numpy as np
import pytest
from PIL import Image

from videodit.data.video import kinds
from videodit.data.video.files import View, probe, read_clip, read_frames
from videodit.data.video.kinds import SUFFIXES, is_media, unread

LEFT, RIGHT = (200, 40, 40), (40, 60, 200)
CODECS = {  # where the container's own choice is not built in, or not fit for two colours
    **dict.fromkeys((".3g2", ".3gp", ".avi", ".mkv"), "mpeg4"),
    **dict.fromkeys((".asf", ".wmv"), "wmv2"),
    **dict.fromkeys((".flv", ".m4v", ".mov", ".mp4"), "libx264"),
    **dict.fromkeys((".m2ts", ".mpeg", ".mpg", ".mts", ".ts", ".vob"), "mpeg2video"),
    ".ogv": "libvpx",
    ".webm": "libvpx-vp9",
    ".gif": "gif",
}
FORMATS = {".m4v": "mp4", ".vob": "vob", ".ogv": "ogg", ".3g2": "3gp"}
PHOTOS = [suffix for suffix in SUFFIXES if suffix not in CODECS]
TRANSPARENT = (".avif", ".png", ".tif", ".tiff", ".webp")


def two_colours(height=48, width=64):
    picture = np.empty((height, width, 3), np.uint8)
    picture[:, : width // 2], picture[:, width // 2 :] = LEFT, RIGHT
    return picture


def check(clip):
    height, width = clip.shape[1:3]
    assert np.abs(clip[:, height // 2, width // 8] - np.array(LEFT)).max() <= 20
    assert np.abs(clip[:, height // 2, -width // 8] - np.array(RIGHT)).max() <= 20


@pytest.mark.parametrize("suffix", CODECS)
def test_every_kind_of_video_is_read(tmp_path, suffix):
    path, codec = tmp_path / f"a{suffix}", CODECS[suffix]
    pixels = "rgb8" if codec == "gif" else "yuv420p"
    with av.open(str(path), "w", format=FORMATS.get(suffix)) as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, pixels
        stream.bit_rate = 2_000_000
        rng = np.random.default_rng(0)  # noise: FFmpeg does not recognise very small files
        for _ in range(5):
            picture = two_colours() + rng.integers(0, 9, (48, 64, 3), np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            container.mux(stream.encode(frame.reformat(format=pixels)))
        container.mux(stream.encode())
    info = probe(path)
    assert info[:3] == (64, 48, 5) and info.fps == pytest.approx(25, rel=0.01)
    if suffix != ".gif":  # has 8 bits for all three colours
        check(read_clip(path, View(1, 1, 4, 48, 64), info.fps, expected=(5, 48, 64)))
    assert read_frames(path).shape == (5, 48, 64, 3)


@pytest.mark.parametrize(
    "suffix, mode",
    [(suffix, "RGB") for suffix in PHOTOS] + [(suffix, "RGBA") for suffix in TRANSPARENT],
)
def test_every_kind_of_photo_is_read(tmp_path, suffix, mode):
    path = tmp_path / f"a{suffix}"
    image = Image.fromarray(two_colours()).convert(mode)
    if mode == "RGBA":
        image.paste((0, 255, 0, 0), (0, 0, 64, 8))  # the top is transparent, and green below
    image.save(path, quality=95)
    clip = read_clip(path, View(0, 1, 1, 48, 64), probe(path).fps, expected=(1, 48, 64))
    check(clip)
    if mode == "RGBA":
        assert clip[:, :6].max() <= 3  # what is transparent becomes black


@pytest.mark.parametrize("suffix", [".avif", ".jpg", ".png", ".tiff", ".webp"])
def test_photos_are_turned_as_they_say(tmp_path, suffix):
    exif = Image.Exif()
    exif[274] = 6  # to be turned right by a quarter
    Image.fromarray(two_colours()).save(tmp_path / f"a{suffix}", exif=exif, quality=95)
    assert probe(tmp_path / f"a{suffix}")[:3] == (48, 64, 1)
    check(np.rot90(read_frames(tmp_path / f"a{suffix}"), 1, (1, 2)))


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "I;16"])
def test_tiffs_of_other_modes(tmp_path, mode):
    grey = mode in ("1", "L", "I;16")
    image = Image.new("L", (64, 48), 255) if grey else Image.fromarray(two_colours())
    image = Image.fromarray(np.full((48, 64), 65535, np.uint16)) if mode == "I;16" else image
    image = image.quantize() if mode == "P" else image
    (image if mode == "I;16" else image.convert(mode)).save(tmp_path / "a.tif")
    clip = read_frames(tmp_path / "a.tif")
    assert clip.shape == (1, 48, 64, 3)
    assert clip.min() >= 254 if grey else check(clip) is None


def test_an_animated_avif_has_its_frames(tmp_path):
    frames = [Image.fromarray(np.full((48, 64, 3), 40 * k, np.uint8)) for k in range(5)]
    frames[0].save(tmp_path / "a.avif", save_all=True, append_images=frames[1:], duration=100)
    info = probe(tmp_path / "a.avif")
    assert info.frames == 5 and info.fps == pytest.approx(10)
    levels = read_frames(tmp_path / "a.avif").mean((1, 2, 3))
    assert np.abs(levels - 40 * np.arange(5)).max() < 4


def test_what_is_captioned_and_not_read_is_counted_by_suffix():
    names = ["a.heic", "a.txt", "b.HEIC", "b.json", "c.psd", "c.txt", "d.mp4", "d.srt", "d.txt"]
    names += ["in/e.heic", "in/e.txt", "f.heic", "g.txt", "nothing"]
    assert unread(names, (".json", ".txt")) == "3 .heic, 1 .psd"
    assert unread(["a.mp4", "a.txt", "b.psd"], (".json", ".txt")) == ""
    assert is_media("A.MP4") and not is_media("mp4") and not is_media("a.txt")
    assert set(kinds.OF_PILLOW) < set(SUFFIXES)
