"""Interlaced frames lose their combs; every other frame stays as it is."""

from fractions import Fraction

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from videodit.data.video.files import View, probe, read_clip, read_frames

HEIGHT, WIDTH = 64, 96


def edge(time):
    """A picture of a vertical edge that moves by 8 pixels in each unit of time: grey H W."""
    columns = np.clip(np.arange(WIDTH) - 8 * time - 8 + 0.5, 0, 1)
    return np.broadcast_to(np.uint8(40 + 170 * columns), (HEIGHT, WIDTH))


def woven(k, order):
    """Frame k: the lines of its second field were filmed half a unit later."""
    picture = edge(k).copy()
    second = slice(1 if order == "tff" else 0, None, 2)
    picture[second] = edge(k + 0.5)[second]
    return picture


def flagged(frame, order):
    """The frame with the flags of interlaced ones; tff: its top lines are the first field."""
    graph = av.filter.Graph()
    source = graph.add_buffer(
        width=WIDTH, height=HEIGHT, format=frame.format, time_base=Fraction(1, 25)
    )
    nodes = source, graph.add("setfield", order), graph.add("buffersink")
    graph.link_nodes(*nodes).configure()
    graph.vpush(frame)
    return graph.vpull()


def write(path, pictures, codec, order="prog", **options):
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for k, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(np.repeat(picture[..., None], 3, -1), format="rgb24")
            frame = flagged(frame.reformat(format="yuv420p"), order)
            frame.pts, frame.time_base = k, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def combs(clip):
    """Mean difference of neighbouring lines, in levels: about 0 for a vertical edge."""
    return np.abs(np.diff(clip[..., 1].astype(float), axis=1)).mean()


INTERLACED = {
    "a.mp4": ("libx264", {"flags": "+ildct+ilme", "g": "4", "bf": "2", "crf": "8"}),
    "a.mkv": ("libx264", {"flags": "+ildct+ilme", "g": "250", "crf": "8"}),
    "a.ts": ("mpeg2video", {"flags": "+ildct+ilme", "g": "4", "qscale": "2"}),
}


@pytest.mark.parametrize("name", INTERLACED)
@pytest.mark.parametrize("order", ["tff", "bff"])
def test_combs_are_gone_and_frames_keep_their_number_and_time(tmp_path, name, order):
    codec, options = INTERLACED[name]
    frames = [woven(k, order) for k in range(9)]
    write(tmp_path / name, frames, codec, order, **options)
    assert next(av.open(str(tmp_path / name)).decode(video=0)).interlaced_frame
    assert combs(np.stack(frames)[..., None].repeat(3, -1)) > 4
    info = probe(tmp_path / name)
    assert info[:3] == (WIDTH, HEIGHT, 9)
    clip = read_frames(tmp_path / name)
    assert len(clip) == 9 and combs(clip[1:-1]) < 1
    # Each frame is the picture of the time of its first field.
    truth = np.stack([edge(k) for k in range(9)])
    assert np.abs(clip[1:-1, ..., 1].astype(float) - truth[1:-1]).mean() < 3
    for start, stride in ((0, 1), (3, 1), (4, 2), (6, 1)):
        view = View(start, stride, (9 - start - 1) // stride + 1, HEIGHT, WIDTH)
        found = read_clip(tmp_path / name, view, info.fps).astype(int)
        assert np.abs(found - clip[start::stride]).max() <= 2, (start, stride)


@settings(max_examples=10)
@given(
    count=st.integers(5, 10),
    order=st.sampled_from(["tff", "bff"]),
    name=st.sampled_from(sorted(INTERLACED)),
    data=st.data(),
)
def test_any_view_of_interlaced_frames_is_whole(tmp_path_factory, count, order, name, data):
    path = tmp_path_factory.mktemp("film") / name
    codec, options = INTERLACED[name]
    write(path, [woven(k, order) for k in range(count)], codec, order, **options)
    start, stride = data.draw(st.integers(1, count - 2)), data.draw(st.integers(1, 3))
    seen = range(start, count - 1, stride)  # the first and the last frame lack a neighbour
    clip = read_clip(path, View(start, stride, len(seen), HEIGHT, WIDTH), probe(path).fps)
    assert combs(clip) < 1
    truth = np.stack([edge(k) for k in seen])
    assert np.abs(clip[..., 1].astype(float) - truth).mean() < 3


def test_what_is_not_flagged_is_not_touched(tmp_path):
    """A venetian blind looks like a comb."""
    blind = np.where(np.arange(HEIGHT)[:, None] % 2, 200, 60) * np.ones((1, WIDTH), int)
    write(tmp_path / "a.mp4", [blind.astype(np.uint8)] * 4, "libx264", crf="4")
    assert combs(read_frames(tmp_path / "a.mp4")) > 130
