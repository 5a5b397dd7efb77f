"""Interlaced frames to whole ones, by FFmpeg's bwdif; other frames stay as they are."""

from collections import deque
from collections.abc import Iterator

from videodit.data.video.graphs import filter_graph
from videodit.data.video.timing import Stream, Timed, stated_rate

PROGRESSIVE = 1  # FFmpeg's AVFieldOrder: 0 is unknown, larger ones are interlaced
LEAST = 4  # pixels; bwdif refuses smaller pictures
BWDIF = {"mode": "send_frame", "parity": "auto", "deint": "interlaced"}


def deinterlaced(frames: Iterator[Timed]) -> Iterator[Timed]:
    """The same frames at the same times; those that are flagged as interlaced are made whole.

    The missing lines are interpolated from the frames before and after (Weston three-field). A
    stream's progressive frames stay as they are.
    """
    for first in frames:
        if first.frame.interlaced_frame and min(first.frame.width, first.frame.height) >= LEAST:
            yield from _filtered(first, frames)
        else:
            yield first


def context(stream: Stream) -> float:
    """Seconds of video that are decoded before a frame too: bwdif reads the frame before."""
    interlaced = stream.codec_context.field_order > PROGRESSIVE
    return 1.5 / (stated_rate(stream) or 1) if interlaced else 0.0


def _filtered(first: Timed, frames: Iterator[Timed]) -> Iterator[Timed]:
    """All frames from the first interlaced one on, each when the one after it is known."""
    graph = filter_graph(first.frame, [("bwdif", BWDIF)])
    graph.vpush(first.frame)
    waiting = deque([first])
    for following in frames:
        graph.vpush(following.frame)
        waiting.append(following)
        yield waiting.popleft()._replace(frame=graph.vpull())
    graph.vpush(None)
    for last in waiting:
        yield last._replace(frame=graph.vpull())
