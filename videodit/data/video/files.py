"""Video files and bytes to numpy frames and back, through PyAV (FFmpeg).

Frames are uint8 T H W 3, RGB, as a player shows them: with square pixels, turned as the file says,
without the combs of interlaced frames, in the colours that its tags say; high dynamic range is
mapped to BT.709. Everything written is H.264 tagged as BT.709, so that this module and any player
read back the same colours. A file that is missing, broken or cut short raises a ConfigError naming
it.
"""

import contextlib
import io
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import av
import numpy as np
from av.stream import Disposition
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter

from videodit.config import ConfigError, check
from videodit.data.patches import Size
from videodit.data.video.cropping import cropper, displayed_size, pixel_aspect
from videodit.data.video.interlacing import context, deinterlaced
from videodit.data.video.kinds import as_png
from videodit.data.video.timing import (
    LATE,
    Stream,
    from_keyframe,
    shown_at,
    sought,
    stated_rate,
    timed,
    times,
)

EDITION = 2  # grows when files are read as other frames, and what was made of them is out of date
MOST_PIXELS = 2**27  # of a frame; a header that claims more costs no memory
KEYFRAME_EVERY = 12  # frames; so many are decoded at most to reach any frame of a clip

# Near lossless (CRF 4) and cheap to decode; each frame is predicted from earlier ones only. Without
# cpu-independent one clip in a hundred is encoded to other bytes, even on the same machine.
CLIP_OPTIONS = {
    "crf": "4",
    "g": str(KEYFRAME_EVERY),
    "bf": "0",
    "tune": "fastdecode",
    "x264-params": "cpu-independent=1",
}
PLAYER_OPTIONS = {"crf": "16"}
BT709 = 1  # FFmpeg's number of these primaries and of this transfer curve

File = str | os.PathLike | bytes  # a path, or the encoded bytes themselves


class VideoInfo(NamedTuple):
    """What a video's header says."""

    width: int  # pixels, as displayed
    height: int
    frames: int  # at a constant frame rate
    fps: float


class View(NamedTuple):
    """The frames of a clip that are seen, and their size."""

    start: int  # first frame, counted at the clip's fps
    stride: int  # every stride-th frame is seen
    frames: int  # number of frames seen
    height: int  # pixels, after a centre crop to this aspect and averaging over areas
    width: int


def whole(frames: int, height: int, width: int) -> View:
    """The view of all frames of a clip at its own size."""
    return View(0, 1, frames, height, width)


def probe(file: File) -> VideoInfo:
    """Displayed size, frame count and mean frame rate of a video (or an image: 1 frame).

    Its packets are counted, and one frame is decoded for its orientation. `read_clip` gives each of
    these frames at this rate. Raises ConfigError, also if the header states more frames.
    """
    return survey(file)[0]


def survey(file: File) -> tuple[VideoInfo, list[float]]:
    """What `probe` says, and when each frame starts, in seconds. Raises ConfigError."""
    with _opened(file) as stream:
        stated = _stated_frames(stream)
        shown = times(stream.container.demux(stream), stream)
        if not (shown.starts and shown.end):
            raise ConfigError("holds no frames")
        _check_complete(shown.packets, stated)
        rate = shown.rate(stated_rate(stream))
    first, aspect = next(frames_at(file, [0], rate))
    height, width = displayed_size(first, aspect)
    return VideoInfo(width, height, len(shown.starts), rate), shown.starts


def decode(file: File, *, threads: int = 1) -> Iterator[av.VideoFrame]:
    """The decoded frames of a file or of encoded bytes, in order, in the video's own pixel format.

    Interlaced frames are made whole. `threads` is the number of decoding threads; 0 takes one for
    each core. Raises ConfigError, also when frames are damaged or fewer than the header states.
    """
    with _opened(file, threads) as stream:
        stated, count = _stated_frames(stream), 0
        packets = from_keyframe(stream.container.demux(stream))
        for _, _, frame in deinterlaced(timed(packets, stream)):
            count += 1
            yield frame
        _check_complete(count, max(stated, 1))


def frames_at(
    file: File, wanted: Sequence[float], fps: float, *, threads: int = 1
) -> Iterator[tuple[av.VideoFrame, Fraction]]:
    """The frame shown at k / fps seconds for each k of `wanted`, ascending: as `read_clip` has it.

    Each comes with the width of its pixels in heights. `threads` is as in `decode`. Raises
    ConfigError if the video is shorter or damaged.
    """
    with _opened(file, threads) as stream:
        aspect = pixel_aspect(stream)
        for frame in _frames_at(stream, wanted, fps, seek=False):
            yield frame, aspect


def read_clip(file: File, view: View, fps: float, *, expected: Size | None = None) -> np.ndarray:
    """The frames of `view` of a file or of encoded bytes: uint8 T H W 3, RGB.

    Frame k of a clip is the picture shown at k / fps seconds; in a video with that constant frame
    rate it is the k-th frame. Only what the view needs is decoded, from the keyframe before it.

    `expected` is the (frames, height, width) that the clip should have at `fps`. Raises ConfigError
    if the header says otherwise, if the video is smaller than the view or cut short, and if the
    needed part is damaged.
    """
    if view.start:
        # Not every container finds its keyframes, and H.264 may refer to frames before them.
        with contextlib.suppress(ConfigError):
            return _read_clip(file, view, fps, expected, seek=True)
    return _read_clip(file, view, fps, expected, seek=False)


def read_frames(file: File) -> np.ndarray:
    """Every frame that a file or encoded bytes hold: uint8 T H W 3, RGB. Raises ConfigError."""
    with _opened(file) as stream:
        aspect = pixel_aspect(stream)
    frames = decode(file)
    first = next(frames)
    height, width = displayed_size(first, aspect)
    crop = cropper(first, width, height, aspect)
    return np.stack([crop(frame) for frame in itertools.chain([first], frames)])


def resize(frames: np.ndarray, view: View) -> np.ndarray:
    """What `read_clip` gives, from frames uint8 T H W 3 in memory: uint8 T H W 3.

    If the size stays the result is a numpy view of the frames. Raises ConfigError if the view does
    not lie within the frames.
    """
    last = view.start + view.stride * (view.frames - 1)
    if last >= len(frames):
        raise ConfigError(f"frame {last} was asked for, there are {len(frames)}")
    frames = frames[view.start : last + 1 : view.stride]
    if frames.shape[1:3] == (view.height, view.width):
        return frames
    pictures = (av.VideoFrame.from_ndarray(frame, format="rgb24") for frame in frames)
    first = next(pictures)
    crop = cropper(first, view.width, view.height)
    video = np.empty((view.frames, view.height, view.width, 3), np.uint8)
    for k, picture in enumerate(itertools.chain([first], pictures)):
        video[k] = crop(picture)
    return video


def fits(info: VideoInfo, width: int, height: int) -> bool:
    """Whether a centre crop of the video to this aspect has at least width x height pixels."""
    return width <= info.width and height <= info.height


def encode(frames: np.ndarray, fps: float, *, options: dict[str, str] = CLIP_OPTIONS) -> bytes:
    """A clip (uint8 T H W 3, RGB) as bytes of an H.264 mp4, near lossless for training shards.

    The colour resolution is full (4:4:4) and any size is possible. Unless other `options` of x264
    are given there is a keyframe at least every KEYFRAME_EVERY frames and no B-frame. One frame is
    an image. Raises ConfigError for other arrays.
    """
    _check_frames(frames)
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        _write(container, frames, fps, "yuv444p", options)
    return buffer.getvalue()


def write_video(path: str | os.PathLike, frames: np.ndarray, fps: float) -> None:
    """Writes frames (uint8 T H W 3, RGB) as an mp4 that any browser plays (H.264, yuv420p).

    The format needs even sizes, so an odd size gets its last row or column twice. Makes the folder.
    Raises ConfigError for other arrays.
    """
    _check_frames(frames)
    height, width = frames.shape[1:3]
    frames = np.pad(frames, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    # With its index in front a browser starts playing before it has the whole file.
    with av.open(os.fspath(path), "w", format="mp4", options={"movflags": "+faststart"}) as file:
        _write(file, frames, fps, "yuv420p", PLAYER_OPTIONS)


def _write(
    container: Any, frames: np.ndarray, fps: float, pixels: str, options: dict[str, str]
) -> None:
    """Encodes frames (uint8 T H W 3) into an open container as H.264 in pixel format `pixels`."""
    reformatter = VideoReformatter()
    # Rates such as 23.976 are fractions with the denominator 1001.
    stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
    stream.height, stream.width = frames.shape[1:3]
    stream.pix_fmt, stream.options = pixels, options
    codec = stream.codec_context
    codec.thread_count = 1  # clips are small, and their bytes must not depend on the machine
    codec.color_range, codec.colorspace = ColorRange.MPEG, Colorspace.ITU709
    codec.color_primaries = codec.color_trc = BT709
    for frame in frames:
        picture = reformatter.reformat(
            av.VideoFrame.from_ndarray(frame, format="rgb24"),
            format=pixels,
            dst_colorspace=Colorspace.ITU709,
            dst_color_range=ColorRange.MPEG,
        )
        container.mux(stream.encode(picture))
    container.mux(stream.encode())


@contextlib.contextmanager
def _opened(file: File, threads: int = 1) -> Iterator[Stream]:
    """The first video stream; every failure becomes a ConfigError with the file's name."""
    name = f"{len(file)} encoded bytes" if isinstance(file, bytes) else os.fspath(file)
    try:
        with av.open(_source(file), options={"protocol_whitelist": "file"}) as container:
            yield _video_stream(container, threads)
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{name}: has metadata that are not UTF-8") from error
    except MemoryError as error:
        raise ConfigError(f"{name}: needs more memory than there is") from error
    except (av.FFmpegError, OSError) as error:
        raise ConfigError(f"{name}: cannot be read as video: {error.strerror}") from error


def _source(file: File) -> Any:
    """What FFmpeg opens: the path, or the bytes as a file. Raises ConfigError for a pipe."""
    if isinstance(file, bytes):
        return io.BytesIO(file)
    if os.path.exists(file) and not os.path.isfile(file):
        raise ConfigError("cannot be read as video: not a file")  # a pipe would be waited for
    png = as_png(os.fspath(file))
    # FFmpeg takes a relative 12:30.mp4 for a URL.
    return os.path.abspath(file) if png is None else io.BytesIO(png)


def _video_stream(container: Any, threads: int) -> Stream:
    """The video stream that is shown, ready to decode. Raises ConfigError if there is none."""
    cover = Disposition.attached_pic
    streams = [s for s in container.streams.video if not s.disposition & cover]
    if not streams:
        raise ConfigError("holds no video")
    stream = min(streams, key=lambda stream: stream.frames == 1)  # not the still of a film
    codec = stream.codec_context
    if codec is None:
        raise ConfigError("is in no codec that FFmpeg knows")
    if codec.width * codec.height > MOST_PIXELS:
        size = f"{codec.width}x{codec.height}"
        raise ConfigError(f"is {size}; expected at most {MOST_PIXELS} pixels")
    codec.thread_type = "NONE" if threads == 1 else "AUTO"
    codec.thread_count = threads
    # Without explode FFmpeg would hide damage.
    codec.options = {"err_detect": "explode", "max_pixels": str(MOST_PIXELS)}
    return stream


def _read_clip(
    file: File, view: View, fps: float, expected: Size | None, *, seek: bool
) -> np.ndarray:
    """`read_clip`, decoding from the last keyframe before the view (`seek`) or the first frame."""
    wanted = range(view.start, view.start + view.stride * view.frames, view.stride)
    video = np.empty((view.frames, view.height, view.width, 3), np.uint8)
    crop: Callable[[av.VideoFrame], np.ndarray] | None = None
    last = None
    with _opened(file) as stream:
        for k, frame in enumerate(_frames_at(stream, wanted, fps, seek=seek)):
            if crop is None:
                _check_expected(stream, frame, fps, expected)
                crop = cropper(frame, view.width, view.height, pixel_aspect(stream))
            video[k] = video[k - 1] if frame is last else crop(frame)
            last = frame
    return video


def _frames_at(
    stream: Stream, wanted: Sequence[float], fps: float, *, seek: bool
) -> Iterator[av.VideoFrame]:
    """The pictures shown at these numbers of frames at `fps`, in ascending order."""
    if seek:
        packets, origin = sought(stream, (wanted[0] + LATE) / fps - context(stream))
        return shown_at(deinterlaced(timed(packets, stream, origin)), wanted, fps)
    packets = from_keyframe(stream.container.demux(stream))
    return shown_at(deinterlaced(timed(packets, stream)), wanted, fps)


def _stated_frames(stream: Stream) -> int:
    """The header's count of frames that are shown; 0 if it states none."""
    entries = list(stream.index_entries)
    if stream.container.format.name == "avi" and entries:
        return len(entries)  # the header also counts dropped frames
    return stream.frames - sum(entry.is_discard for entry in entries)


def _check_complete(count: int, stated: int) -> None:
    if count < stated:
        raise ConfigError(f"cut short, {count} frames of {stated} can be decoded")


def _check_expected(
    stream: Stream, first: av.VideoFrame, fps: float, expected: Size | None
) -> None:
    """Raises ConfigError if the header states other than is `expected`; nothing is decoded."""
    if expected is None:
        return
    frames, rate = _stated_frames(stream), stated_rate(stream) or fps
    size = displayed_size(first, pixel_aspect(stream))
    if not _lasts(stream, frames, rate, expected[0], fps) or size != tuple(expected[1:]):
        raise ConfigError(
            f"has {frames or expected[0]} frames of {size[1]}x{size[0]} at {rate:g} fps; expected "
            f"were {expected[0]} of {expected[2]}x{expected[1]} at {fps:g}"
        )


def _lasts(stream: Stream, frames: int, rate: float, expected: int, fps: float) -> bool:
    """Whether the header may be that of a video of `expected` frames at `fps`."""
    steady = stream.average_rate == stream.base_rate and stream.frames == frames
    # Other headers state a nominal rate, or how long decoding takes.
    exact = (
        steady and "mp4" in stream.container.format.name and not stream.codec_context.has_b_frames
    )
    if not frames or (frames == expected and (frames == 1 or not exact)):
        return True
    return abs(frames / rate - expected / fps) < 0.75 / max(fps, rate)


def _check_frames(frames: np.ndarray) -> None:
    good = frames.dtype == np.uint8 and frames.ndim == 4 and frames.shape[3] == 3 and frames.size
    check(bool(good), "frames", f"{frames.dtype} {frames.shape}", "uint8 T H W 3, not empty")
