"""When each frame of a video is shown: one clock for probing, for clips and for curation.

Time is counted in seconds from the first frame that is shown. Packets tell when their frames are
shown, before anything is decoded. In AVI they tell only when frames are decoded: the frames are
then shown in that rhythm, later by the decoder's delay. Without time stamps the stated rate holds.
"""

import heapq
import itertools
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import av

from videodit.config import ConfigError

LATE = 0.4  # frames by which rounded or unsteady time stamps may be late

Stream = Any  # av.VideoStream; its stubs call most values optional


class Timed(NamedTuple):
    """A decoded frame. It is shown from `start` on and at least to `until`, in seconds."""

    start: float
    until: float
    frame: av.VideoFrame


class Times(NamedTuple):
    """When the frames of a video are shown, in seconds."""

    starts: list[float]  # ascending
    end: float  # of the last frame
    packets: int  # also of frames that need a keyframe before the first one

    def rate(self, stated: float | None) -> float:
        """Frames per second: the stated rate if it is also the mean, else the mean."""
        count = len(self.starts)
        if stated and (count == 1 or abs(self.end * stated - count) <= 0.5):
            return stated
        return count / self.end


def times(packets: Iterable[av.Packet], stream: Stream) -> Times:
    """When a stream's frames are shown, from all its packets."""
    clock = _clock(stream, None)
    for packet in from_keyframe(packets):
        clock.note(packet)
    return clock.all()


def from_keyframe(packets: Iterable[av.Packet]) -> Iterator[av.Packet]:
    """The packets from the first keyframe on: a recording may begin anywhere in a broadcast."""
    return itertools.dropwhile(lambda packet: packet.size and not packet.is_keyframe, packets)


def timed(
    packets: Iterable[av.Packet], stream: Stream, origin: int | None = None
) -> Iterator[Timed]:
    """Decodes packets from a keyframe on: from the stream's first one if `origin` is None.

    `origin` is the time stamp that counts as 0. One packet more than the decoder needs is read; it
    tells when the next frame starts.
    """
    clock = _clock(stream, origin)
    ahead = iter(packets)
    packet = next(ahead, None)
    clock.note(packet)
    while packet is not None:
        following = next(ahead, None) if packet.size else None
        clock.note(following)
        for frame in decoded(packet):
            yield Timed(*clock.place(frame), frame)
        packet = following


def decoded(packet: av.Packet) -> Iterator[av.VideoFrame]:
    """The frames that a packet completes. Raises ConfigError if one is damaged."""
    for frame in packet.decode():
        if frame.is_corrupt:
            raise ConfigError(f"is damaged at {frame.time} s")
        yield frame


def shown_at(
    frames: Iterable[Timed], wanted: Sequence[float], fps: float
) -> Iterator[av.VideoFrame]:
    """For each of the ascending numbers k, the last frame that starts by (k + LATE) / fps.

    The last frame of all is shown for 1 / fps or longer. Raises ConfigError if the frames begin
    later or end earlier.
    """
    due = deque((k + LATE) / fps for k in wanted)
    shown, start = None, 0.0
    for start, until, frame in frames:
        while due and due[0] < start:
            if shown is None:
                raise ConfigError(f"shows nothing at {due[0]:.3f} s")
            yield shown
            due.popleft()
        shown = frame
        while due and due[0] < until:
            yield shown
            due.popleft()
        if not due:
            return
    while due and shown is not None and due[0] < start + 1 / fps:
        yield shown
        due.popleft()
    if due:
        raise ConfigError(f"cut short, frame {wanted[-len(due)]:g} was asked for")


def sought(stream: Stream, seconds: float) -> tuple[Iterator[av.Packet], int]:
    """Packets from the last keyframe that is shown at or before `seconds`, and the time stamp of 0.

    Raises ConfigError if the container cannot find that keyframe.
    """
    container = stream.container
    first = next(from_keyframe(container.demux(stream)), None)
    if not _has_stamps(stream) or first is None or not first.size:
        raise ConfigError("has no time stamps")
    origin = _origin(first, stream)
    target = position = origin + int(seconds / float(stream.time_base))
    for _ in range(2):
        container.seek(position, stream=stream)
        packets = container.demux(stream)
        first = next(packets)
        if not first.is_keyframe or first.pts is None or first.dts is None:
            break
        if first.pts <= target:
            return itertools.chain([first], packets), origin
        position = first.dts - 1  # FFmpeg seeks by time of decoding, which is before it is shown
    raise ConfigError("finds no keyframe")


def stated_rate(stream: Stream) -> float | None:
    """The frame rate that a stream's header states, or else FFmpeg's guess."""
    rate = stream.average_rate or stream.guessed_rate
    return float(rate) if rate else None


def _has_stamps(stream: Stream) -> bool:
    """Whether packets have the time at which they are shown; AVI has the time of decoding only."""
    return stream.start_time is not None and stream.container.format.name != "avi"


def _origin(first: av.Packet, stream: Stream) -> int:
    """The time stamp of 0: the first keyframe's, or a later one if an edit list hides that."""
    return stream.start_time if first.pts is None else max(first.pts, stream.start_time)


def _clock(stream: Stream, origin: int | None) -> "_Stamped | _Unstamped":
    return _Stamped(stream, origin) if _has_stamps(stream) else _Unstamped(stream)


class _Stamped:
    """The clock of a stream whose packets say when their frames are shown."""

    def __init__(self, stream: Stream, origin: int | None) -> None:
        self._stream, self._origin, self._from_start = stream, origin, origin is None
        self._unit, self._usual = _units(stream)
        self._first: float | None = None  # start of the first keyframe; earlier ones lack their own
        self._last: float | None = None  # start of the frame that was placed last
        self._known: list[float] = []  # a heap of starts of frames that are not placed yet
        self._latest = self._end = 0.0  # start and end of the frame that is shown last
        self._noted = 0  # packets of frames that are shown
        self._ended = False

    def note(self, packet: av.Packet | None) -> None:
        """Takes the stamps of the next packet; None, or one without data, is the end."""
        if packet is None or not packet.size:
            self._ended = True
            return
        if self._origin is None:
            self._origin = _origin(packet, self._stream)
        self._noted += not packet.is_discard
        if packet.pts is None:
            return
        start = self._seconds(packet.pts)
        self._first = start if self._first is None else self._first
        if start >= self._first and not packet.is_discard:
            heapq.heappush(self._known, start)
            if start >= self._latest:
                length = packet.duration * self._unit if packet.duration else self._usual
                self._latest, self._end = start, start + length

    def place(self, frame: av.VideoFrame) -> tuple[float, float]:
        """(start, until) of the next decoded frame, as in Timed; its packet was noted before."""
        if frame.pts is not None:
            start = self._seconds(frame.pts)
        else:
            start = 0.0 if self._last is None else self._last + self._usual
        while self._known and self._known[0] < start:
            heapq.heappop(self._known)
        if self._known and self._known[0] == start:  # once: two frames may start together
            heapq.heappop(self._known)
        until = self._known[0] if self._known else self._end if self._ended else start
        if self._last is None and self._from_start:
            start = min(start, 0.0)  # the first picture is there from the beginning
        self._last = start
        return start, until

    def all(self) -> Times:
        """The times of the frames of all packets."""
        return Times(sorted(self._known), self._end, self._noted)

    def _seconds(self, stamp: int) -> float:
        return (stamp - (self._origin or 0)) * self._unit


class _Unstamped:
    """The clock of a stream that has a rhythm of decoding, or only a rate."""

    def __init__(self, stream: Stream) -> None:
        self._unit, self._usual = _units(stream)
        self._delay = stream.codec_context.reorder_depth  # frames
        self._noted = 0  # packets
        self._rhythm: deque[float] = deque()  # starts of the next frames, from any origin
        self._origin: float | None = None
        self._next = 0.0  # start of the next frame if the rhythm does not tell
        self._regular = False  # whether it tells nothing more

    def note(self, packet: av.Packet | None) -> None:
        """Takes the stamps of the next packet; None, or one without data, is the end."""
        if packet is None or not packet.size:
            self._regular = True
            return
        self._noted += 1
        if packet.dts is None:
            self._regular = True
        elif self._noted > self._delay:
            self._rhythm.append(packet.dts * self._unit)

    def place(self, frame: av.VideoFrame) -> tuple[float, float]:
        """(start, until) of the next decoded frame, as in Timed; its packet was noted before."""
        start = self._advance()
        if self._rhythm:
            return start, self._rhythm[0] - (self._origin or 0.0)
        return start, self._next if self._regular else start

    def all(self) -> Times:
        """The times of the frames of all packets."""
        starts = [self._advance() for _ in range(self._noted)]
        return Times(starts, self._next, self._noted)

    def _advance(self) -> float:
        start = self._next
        if self._rhythm:
            stamp = self._rhythm.popleft()
            self._origin = stamp if self._origin is None else self._origin
            start = stamp - self._origin
        self._next = start + self._usual
        return start


def _units(stream: Stream) -> tuple[float, float]:
    """Seconds of a time stamp's unit, and of a frame that does not say how long it is shown."""
    return float(stream.time_base), 1 / (stated_rate(stream) or 1)
