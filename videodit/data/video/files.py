"""Video files and bytes to numpy frames and back, through PyAV (FFmpeg).

Frames are uint8 T H W 3, RGB, as a player shows them: rotated as the file says, in the colours that
its tags say. Everything written is H.264 tagged as BT.709, so that this module and any player read
back the same colours. A file that is missing, broken or cut short raises a ConfigError naming it.
"""

import contextlib
import io
import itertools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from typing import Any, NamedTuple

import av
import numpy as np
from av.stream import Disposition
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter

from videodit.config import ConfigError, check
from videodit.data.patches import Size
from videodit.data.video.cropping import cropper, displayed_size

SUFFIXES = (  # of videos and images, in folders
    *(".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ogv", ".webm"),
    *(".jpeg", ".jpg", ".png", ".webp"),
)
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
LATE = 0.4  # frames by which rounded or unsteady time stamps may be late
BT709 = 1  # FFmpeg's number of these primaries and of this transfer curve

File = str | os.PathLike | bytes  # a path, or the encoded bytes themselves
Stream = Any  # av.VideoStream; its stubs call most values optional


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

    If the container does not state the frame count, packets are counted; one frame is decoded for
    its orientation. Raises ConfigError.
    """
    with _opened(file) as (container, stream):
        rate = stream.average_rate or stream.guessed_rate
        frames = _stated_frames(stream)
        if not frames:
            frames, rate = _count(container.demux(stream), rate)
        if not (frames and rate):
            raise ConfigError("holds no frames")
    height, width = displayed_size(next(decode(file)))
    return VideoInfo(width, height, frames, float(rate))


def decode(file: File, *, threads: int = 1) -> Iterator[av.VideoFrame]:
    """The decoded frames of a file or of encoded bytes, in order, in the video's own pixel format.

    `threads` is the number of decoding threads; 0 takes one for each core. Raises ConfigError, also
    when frames are damaged or fewer than the header states.
    """
    with _opened(file, threads) as (container, stream):
        count = 0
        for packet in container.demux(stream):
            for frame in _decoded(packet):
                count += 1
                yield frame
        stated = max(_stated_frames(stream), 1)
        if count < stated:
            raise ConfigError(f"cut short, {count} frames of {stated} can be decoded")


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
    frames = decode(file)
    first = next(frames)
    height, width = displayed_size(first)
    crop = cropper(first, width, height)
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
def _opened(file: File, threads: int = 1) -> Iterator[tuple[Any, Stream]]:
    """(container, its first video stream); every failure becomes a ConfigError with the name."""
    name = f"{len(file)} encoded bytes" if isinstance(file, bytes) else os.fspath(file)
    try:
        source: Any = io.BytesIO(file) if isinstance(file, bytes) else name
        with av.open(source) as container:
            cover = Disposition.attached_pic
            streams = [s for s in container.streams.video if not s.disposition & cover]
            if not streams:
                raise ConfigError("holds no video")
            codec = streams[0].codec_context
            if codec is None:
                raise ConfigError("is in no codec that FFmpeg knows")
            codec.thread_type = "NONE" if threads == 1 else "AUTO"
            codec.thread_count = threads
            codec.options = {"err_detect": "explode"}  # or FFmpeg would hide damage
            yield container, streams[0]
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{name}: has metadata that are not UTF-8") from error
    except MemoryError as error:
        raise ConfigError(f"{name}: needs more memory than there is") from error
    except (av.FFmpegError, OSError) as error:
        raise ConfigError(f"{name}: cannot be read as video: {error.strerror}") from error


def _read_clip(
    file: File, view: View, fps: float, expected: Size | None, *, seek: bool
) -> np.ndarray:
    """`read_clip`, decoding from the last keyframe before the view (`seek`) or the first frame."""
    wanted = range(view.start, view.start + view.stride * view.frames, view.stride)
    video = np.empty((view.frames, view.height, view.width, 3), np.uint8)
    crop: Callable[[av.VideoFrame], np.ndarray] | None = None
    last = None
    with _opened(file) as (container, stream):
        if seek:
            packets = _sought(container, stream, (wanted[0] + LATE) / fps)
            frames = _timed(packets, stream, stream.start_time)
        else:
            frames = _timed(container.demux(stream), stream)
        for k, frame in enumerate(_shown(frames, stream, wanted, fps)):
            if crop is None:
                _check_expected(stream, frame, fps, expected)
                crop = cropper(frame, view.width, view.height)
            video[k] = video[k - 1] if frame is last else crop(frame)
            last = frame
    return video


def _has_stamps(stream: Stream) -> bool:
    """Whether frames have the time at which they are shown; AVI has the time of decoding only."""
    return stream.container.format.name != "avi"


def _sought(container: Any, stream: Stream, seconds: float) -> Iterable[av.Packet]:
    """The stream's packets from the last keyframe that is shown at or before `seconds`."""
    if stream.start_time is None or not _has_stamps(stream):
        raise ConfigError("has no time stamps")
    target = position = stream.start_time + int(seconds / stream.time_base)
    for _ in range(2):
        container.seek(position, stream=stream)
        packets = container.demux(stream)
        first = next(packets)
        if not first.is_keyframe or first.pts is None or first.dts is None:
            break
        if first.pts <= target:
            return itertools.chain([first], packets)
        position = first.dts - 1  # FFmpeg seeks by time of decoding, which is before it is shown
    raise ConfigError("finds no keyframe")


def _decoded(packet: av.Packet) -> Iterator[av.VideoFrame]:
    for frame in packet.decode():
        if frame.is_corrupt:
            raise ConfigError(f"is damaged at {frame.time} s")
        yield frame


def _timed(
    packets: Iterable[av.Packet], stream: Stream, origin: int | None = None
) -> Iterator[tuple[float, av.VideoFrame]]:
    """Yields (seconds since the time stamp `origin`, else since the first one, frame) in order."""
    duration = 1 / float(stream.average_rate or stream.guessed_rate or 1)
    unit, stamped = float(stream.time_base), _has_stamps(stream)
    for count, frame in enumerate(frame for packet in packets for frame in _decoded(packet)):
        stamp = frame.pts
        if stamp is None or not stamped:
            yield count * duration, frame
        else:
            origin = stamp if origin is None else origin
            yield (stamp - origin) * unit, frame


def _shown(
    frames: Iterable[tuple[float, av.VideoFrame]], stream: Stream, wanted: range, fps: float
) -> Iterator[av.VideoFrame]:
    """For each wanted k, the last frame that starts at k / fps or LATE after it at most."""
    # In a steady stream the start of the next frame is known before it is decoded.
    rate = stream.average_rate
    certain = 1 / float(rate) if rate and rate == stream.base_rate else 0.0
    due = deque((k + LATE) / fps for k in wanted)
    shown, start = None, 0.0
    for next_start, frame in frames:
        while due and due[0] < next_start:
            if shown is None:
                raise ConfigError(f"shows nothing at {due[0]:.3f} s")
            yield shown
            due.popleft()
        shown, start = frame, next_start
        while due and due[0] < start + certain:
            yield shown
            due.popleft()
        if not due:
            return
    length = (
        float(shown.duration * shown.time_base)
        if shown and shown.duration and shown.time_base
        else 0
    )
    while due and shown and due[0] < start + max(length, 1 / fps):
        yield shown
        due.popleft()
    if due:
        raise ConfigError(f"cut short, frame {wanted[-len(due)]} was asked for")


def _stated_frames(stream: Stream) -> int:
    """The header's frame count without frames that it marks as not shown; 0 if it states none."""
    return stream.frames - sum(entry.is_discard for entry in stream.index_entries)


def _count(packets: Iterable[Any], rate: Fraction | None) -> tuple[int, Fraction | None]:
    """Number of frames in a stream's packets; the stated rate, or their mean rate if it differs."""
    stamps = [(p.pts, p.duration or 0, p.time_base) for p in packets if p.size]
    if any(pts is None for pts, _, _ in stamps) or len(stamps) < 2:
        return len(stamps), rate
    seconds = (max(p + d for p, d, _ in stamps) - min(p for p, _, _ in stamps)) * stamps[0][2]
    steady = rate and abs(seconds * rate - len(stamps)) < 1
    return len(stamps), rate if steady else len(stamps) / seconds


def _check_expected(
    stream: Stream, first: av.VideoFrame, fps: float, expected: Size | None
) -> None:
    """Raises ConfigError if the header does not state what is `expected`; nothing is decoded."""
    if expected is None:
        return
    frames, rate = _stated_frames(stream) or expected[0], stream.average_rate or fps
    lasts = frames == expected[0] == 1 or (
        abs(frames / rate - expected[0] / fps) < 0.75 / max(fps, rate)
    )
    size = displayed_size(first)
    if not lasts or size != tuple(expected[1:]):
        raise ConfigError(
            f"has {frames} frames of {size[1]}x{size[0]} at {float(rate):g} fps; expected were "
            f"{expected[0]} of {expected[2]}x{expected[1]} at {fps:g}"
        )


def _check_frames(frames: np.ndarray) -> None:
    good = frames.dtype == np.uint8 and frames.ndim == 4 and frames.shape[3] == 3 and frames.size
    check(bool(good), "frames", f"{frames.dtype} {frames.shape}", "uint8 T H W 3, not empty")
