"""FFmpeg's filter graphs for decoded frames."""

from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Any

import av


def filter_graph(first: av.VideoFrame, filters: Iterable[tuple[str, Mapping[str, str]]]) -> Any:
    """The graph of filters, (name, options) each, for frames like `first`; it uses one thread."""
    graph = av.filter.Graph()
    graph.threads = 1
    source = graph.add_buffer(
        width=first.width,
        height=first.height,
        format=first.format,
        time_base=first.time_base or Fraction(1, 1000),
    )
    steps = [graph.add(name, **options) for name, options in filters]
    graph.link_nodes(source, *steps, graph.add("buffersink")).configure()
    return graph
