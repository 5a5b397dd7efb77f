"""Line charts as inline SVG; the page that holds them needs no script, font or other file."""

import html
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

BLUE, ORANGE, GREEN, GRAY = "#2563eb", "#ea580c", "#059669", "#64748b"
WIDTH, HEIGHT = 640, 320
LEFT, RIGHT, TOP, BOTTOM = 72, 616, 14, 278  # edges of the plotting area


@dataclass(frozen=True)
class Series:
    """A named line through `points` (x, y), in a CSS color.

    marked: each point gets a dot with its figures as a tooltip. errors: half the length of a
    vertical bar at each point. faint: the line is thin and pale, for noisy figures. dashed: the
    line is a bound.
    """

    name: str
    points: list[tuple[float, float]]
    color: str
    marked: bool = False
    faint: bool = False
    dashed: bool = False
    errors: tuple[float, ...] = ()


@dataclass(frozen=True)
class Axes:
    """Maps data to the SVG's units: x is linear from 0, y is linear or logarithmic."""

    x_max: float
    y_min: float
    y_max: float
    log: bool

    def x(self, value: float) -> float:
        """Place of a value on the x axis."""
        return LEFT + (RIGHT - LEFT) * value / self.x_max

    def y(self, value: float) -> float:
        """Place of a value on the y axis."""
        scale: Callable[[float], float] = math.log if self.log else float
        low, high = scale(self.y_min), scale(self.y_max)
        return BOTTOM - (BOTTOM - TOP) * (scale(value) - low) / (high - low)


def line_chart(
    series: list[Series], *, y_label: str, x_label: str = "step", log: bool = False
) -> str:
    """The HTML of a chart of the series over a common x axis that starts at 0.

    Figures that cannot be drawn (not finite, or not positive on a logarithmic axis) are left out;
    if none remains the result is "".
    """
    series = [_drawable(one, log) for one in series]
    series = [one for one in series if one.points]
    if not series:
        return ""
    axes = _axes(series, log)
    parts = [*_grid(axes), *(part for one in series for part in _line(one, axes))]
    middle = (TOP + BOTTOM) / 2
    return (
        f'<figure><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{html.escape(y_label)}">{"".join(parts)}'
        f'<text x="{(LEFT + RIGHT) / 2}" y="{HEIGHT - 6}" text-anchor="middle">{x_label}</text>'
        f'<text transform="translate(12 {middle}) rotate(-90)" text-anchor="middle">'
        f"{html.escape(y_label)}</text></svg>"
        f"<figcaption>{''.join(_legend(one) for one in series)}</figcaption></figure>"
    )


def smooth(points: list[tuple[float, float]], count: int) -> list[tuple[float, float]]:
    """At each point the mean over the last `count` points."""
    values = [y for _, y in points]
    runs = [values[max(0, i - count + 1) : i + 1] for i in range(len(values))]
    return [(x, sum(run) / len(run)) for (x, _), run in zip(points, runs)]


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About `count` round values in [low, high], 1, 2 or 5 times a power of ten apart."""
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [index * step for index in range(first, last + 1)]


def _drawable(one: Series, log: bool) -> Series:
    keep = [math.isfinite(y) and (y > 0 or not log) for _, y in one.points]
    points = [point for point, good in zip(one.points, keep) if good]
    errors = tuple(error for error, good in zip(one.errors, keep) if good)
    return replace(one, points=points, errors=errors)


def _axes(series: list[Series], log: bool) -> Axes:
    values = [y for one in series for _, y in one.points]
    for one in series:
        values += [y + sign * e for (_, y), e in zip(one.points, one.errors) for sign in (-1, 1)]
    low, high = min(values), max(values)
    margin = 0.06 * (high - low) or 0.1 * abs(high) or 1.0
    x_max = max(x for one in series for x, _ in one.points) or 1
    if log:
        return Axes(x_max, low / 1.1, high * 1.1, log)
    return Axes(x_max, low - margin, high + margin, log)


def _log_ticks(low: float, high: float) -> list[float]:
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    factors = (1, 2, 5) if high / low < 1000 else (1,)
    return [f * 10.0**p for p in powers for f in factors if low <= f * 10.0**p <= high]


def _grid(axes: Axes) -> list[str]:
    lows = _log_ticks if axes.log else ticks
    parts = []
    for value in lows(axes.y_min, axes.y_max):
        y = axes.y(value)
        parts.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{RIGHT}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:.4g}</text>')
    for value in ticks(0, axes.x_max):
        x = axes.x(value)
        parts.append(f'<text x="{x:.1f}" y="{BOTTOM + 18}" text-anchor="middle">{value:g}</text>')
    return parts


def _line(one: Series, axes: Axes) -> list[str]:
    places = [(axes.x(x), axes.y(y)) for x, y in one.points]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    width, opacity = (1, 0.35) if one.faint else (2, 1)
    dash = ' stroke-dasharray="6 5"' if one.dashed else ""
    parts = [
        f'<polyline points="{path}" fill="none" stroke="{one.color}" '
        f'stroke-width="{width}" opacity="{opacity}"{dash}/>'
    ]
    for (x, y), error in zip(one.points, one.errors):
        low, high = axes.y(y - error), axes.y(y + error)
        place = f"M{axes.x(x):.1f} {low:.1f}V{high:.1f}"
        parts.append(f'<path d="{place}" stroke="{one.color}" stroke-width="1.5"/>')
    if one.marked:
        parts += [
            f'<circle cx="{cx:.1f}" cy="{cy:.1f}" r="3.5" fill="{one.color}">'
            f"<title>{html.escape(one.name)}, {x:g}: {y:.4g}</title></circle>"
            for (cx, cy), (x, y) in zip(places, one.points)
        ]
    return parts


def _legend(one: Series) -> str:
    style = "dashed" if one.dashed else "solid"
    opacity = ";opacity:.4" if one.faint else ""
    return (
        f'<span><i style="border-top:2px {style} {one.color}{opacity}"></i>'
        f"{html.escape(one.name)}</span>"
    )
