"""Video files and bytes to numpy frames and back, through PyAV (FFmpeg).

Frames are uint8 T H W 3, RGB. Everything written is H.264 in BT.709 and says so, so that reading
it back and any player give the same colours. A file that is missing, broken or cut short raises
ConfigError naming it.
"""

import contextlib
import io
import itertools
import os
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import NamedTuple

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter

from videodit.config import ConfigError, check

KEYFRAME_EVERY = 12  # frames: how many are decoded at most to reach any one of a clip

# Near lossless (CRF 4), each frame predicted from earlier ones only, cheap to decode.
CLIP_OPTIONS = {"crf": "4", "g": str(KEYFRAME_EVERY), "bf": "0", "tune": "fastdecode"}
PLAYER_OPTIONS = {"crf": "16"}
BT709 = 1  # FFmpeg's number of these primaries and of this transfer curve


class VideoInfo(NamedTuple):
    """What a video's header says."""

    width: int  # pixels
    height: int
    frames: int
    fps: float


def probe(file: str | os.PathLike) -> VideoInfo:
    """Size, frame count and frame rate of a video (or an image: 1 frame), nothing decoded.

    Where the container does not state a frame count, its packets are counted. Raises ConfigError.
    """
    with _opened(file) as (container, stream):
        frames = stream.frames or sum(packet.size > 0 for packet in container.demux(stream))
        rate = stream.average_rate or stream.guessed_rate
        if not (frames and rate):
            raise ConfigError(f"{_name(file)}: holds no frames")
        return VideoInfo(stream.width, stream.height, frames, float(rate))


def decode(file: str | os.PathLike | bytes, *, threads: int = 1) -> Iterator[av.VideoFrame]:
    """The decoded frames of a file or of encoded bytes, in order, in the video's own pixel format.

    `threads`: decoding threads; 0 takes one a core. Raises ConfigError, also when frames are
    damaged or fewer than the header states.
    """
    with _opened(file) as (container, stream):
        stream.thread_type = "NONE" if threads == 1 else "AUTO"
        stream.codec_context.thread_count = threads
        count = 0
        for count, frame in enumerate(container.decode(stream), start=1):
            if frame.is_corrupt:
                raise ConfigError(f"{_name(file)}: frame {count - 1} is damaged")
            yield frame
        if count < max(stream.frames, 1):
            raise ConfigError(
                f"{_name(file)}: cut short, {count} frames of {stream.frames} can be decoded"
            )


def read_frames(
    file: str | os.PathLike | bytes, *, start: int = 0, stop: int | None = None
) -> np.ndarray:
    """Frames start <= i < stop of a file or of encoded bytes: uint8 T H W 3, RGB.

    Decodes from the beginning, in this thread: exact for any file, made for clips. Raises
    ConfigError if the video cannot be read or has fewer than `stop` frames.
    """
    reformatter = VideoReformatter()  # keeps its colour tables from frame to frame
    # Exhausting a whole clip lets decode() compare the frame count with the header's.
    frames = [
        reformatter.reformat(frame, format="rgb24").to_ndarray()
        for frame in itertools.islice(decode(file), start, stop)
    ]
    if len(frames) < (1 if stop is None else stop - start):
        raise ConfigError(
            f"{_name(file)}: frames {start} to {'the end' if stop is None else stop} were asked "
            f"for, only {len(frames)} of them exist"
        )
    return np.stack(frames)


def cropper(first: av.VideoFrame, width: int, height: int) -> Callable[[av.VideoFrame], np.ndarray]:
    """A function from frames like `first` to uint8 H W 3 (RGB) of the given size.

    It crops the centre to the asked aspect and averages over areas down to the size, both in one
    FFmpeg filter graph. `fits` says which sizes need no enlarging.
    """
    crop_width, crop_height = _centre(first.width, first.height, width, height)
    graph = av.filter.Graph()
    graph.link_nodes(
        graph.add_buffer(
            width=first.width,
            height=first.height,
            format=first.format,
            time_base=first.time_base or Fraction(1, 1000),
        ),
        graph.add("crop", f"{crop_width}:{crop_height}"),
        graph.add("scale", f"{width}:{height}:flags=area+accurate_rnd+full_chroma_int"),
        graph.add("format", "rgb24"),
        graph.add("buffersink"),
    ).configure()

    def crop(frame: av.VideoFrame) -> np.ndarray:
        graph.vpush(frame)
        return graph.vpull().to_ndarray()

    return crop


def fits(info: VideoInfo, width: int, height: int) -> bool:
    """Whether a centre crop of the video to this aspect has at least width x height pixels."""
    crop_width, crop_height = _centre(info.width, info.height, width, height)
    return crop_width >= width and crop_height >= height


def encode(frames: np.ndarray, fps: float) -> bytes:
    """A clip (uint8 T H W 3, RGB) as bytes of a near-lossless H.264 mp4 for training shards.

    Full colour resolution (4:4:4), any size; a keyframe at least every KEYFRAME_EVERY frames, no
    B-frames. One frame is an image. Raises ConfigError for other arrays.
    """
    _check_frames(frames)
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        _write(container, frames, fps, "yuv444p", CLIP_OPTIONS)
    return buffer.getvalue()


def write_video(path: str | os.PathLike, frames: np.ndarray, fps: float) -> None:
    """Writes frames (uint8 T H W 3, RGB) as an mp4 that any browser plays (H.264, yuv420p).

    The format needs even sizes: an odd one gets its last row or column twice. Makes the folder.
    Raises ConfigError for other arrays.
    """
    _check_frames(frames)
    height, width = frames.shape[1:3]
    frames = np.pad(frames, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    # The index in front lets a browser start playing before it has the whole file.
    with av.open(os.fspath(path), "w", format="mp4", options={"movflags": "+faststart"}) as file:
        _write(file, frames, fps, "yuv420p", PLAYER_OPTIONS)


def _write(container, frames: np.ndarray, fps: float, pixels: str, options: dict) -> None:
    """Encodes frames (uint8 T H W 3) into an open container as H.264 in pixel format `pixels`."""
    reformatter = VideoReformatter()
    # Rates such as 23.976 are fractions over 1001.
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
def _opened(file: str | os.PathLike | bytes):
    """(container, its first video stream); what FFmpeg cannot read becomes a ConfigError."""
    source = io.BytesIO(file) if isinstance(file, bytes) else os.fspath(file)
    try:
        with av.open(source) as container:
            if not container.streams.video:
                raise ConfigError(f"{_name(file)}: holds no video")
            yield container, container.streams.video[0]
    except (av.FFmpegError, OSError) as error:
        raise ConfigError(f"{_name(file)}: cannot be read as video: {error.strerror}") from error


def _name(file: str | os.PathLike | bytes) -> str:
    return f"{len(file)} encoded bytes" if isinstance(file, bytes) else os.fspath(file)


def _check_frames(frames: np.ndarray) -> None:
    good = frames.dtype == np.uint8 and frames.ndim == 4 and frames.shape[3] == 3 and frames.size
    check(bool(good), "frames", f"{frames.dtype} {frames.shape}", "uint8 T H W 3, not empty")


def _centre(film_width: int, film_height: int, width: int, height: int) -> tuple[int, int]:
    """Size of the largest crop of a film with the aspect width : height."""
    return (
        min(film_width, round(film_height * width / height)),
        min(film_height, round(film_width * height / width)),
    )
