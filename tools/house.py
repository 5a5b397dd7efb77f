"""Draws the floors of the package, from their table in docs/architecture.md.

    python -m tools.house --out=docs/house.svg

A test compares the picture with the table, so this command follows every change of the table.
"""

import re
from html import escape
from pathlib import Path
from typing import NamedTuple

from absl import flags

from videodit.entry import run_command
from videodit.folders import check_file

PAGE = Path(__file__).parents[1] / "docs" / "architecture.md"

# All sizes are in pixels.
WALL = 36  # margin left and right of the house
ROOF, BAND, GROUND = 58, 50, 18  # heights of the roof, of one floor, of the ground
ROOMS = 96  # where the first room of a floor begins
LETTER, WORD_LETTER = 8.0, 7.0  # widths of a letter of a room's name, of a letter of a purpose
TONES = ("#dfe9f3", "#eef3e4", "#fbf1dc", "#f7e6df", "#efe3ef")
FONTS = {"room": "13px ui-monospace, Menlo, monospace", "word": "12.5px system-ui, sans-serif"}


class Floor(NamedTuple):
    """One row of the table: files import only from floors with a smaller number."""

    number: int
    paths: tuple[str, ...]  # below videodit/; folders end in "/"
    purpose: str


def read_floors(page: str) -> list[Floor]:
    """The rows of the table of floors in a Markdown page, from its first row to its last."""
    table = re.search(r"<!-- floors -->\n(.*?)<!-- end of floors -->", page, re.DOTALL)
    if table is None:
        raise ValueError("the page has no table of floors")
    rows = ([cell.strip() for cell in line.split("|")] for line in table[1].splitlines())
    return [
        Floor(int(row[1]), tuple(re.findall("`(.*?)`", row[2])), row[3])
        for row in rows
        if len(row) > 3 and row[1].isdigit()
    ]


def draw(floors: list[Floor]) -> str:
    """An SVG of the house: one band a floor, one box a path, the ground floor last."""
    width, height = max(map(_width, floors)), ROOF + BAND * len(floors) + GROUND
    bands = [_band(floor, i, width) for i, floor in enumerate(floors)]
    parts = [_opening(width, height), _roof(width), *bands, _ground(width, height)]
    return "\n".join([*parts, "</svg>\n"])


def _width(floor: Floor) -> int:
    """The width of a picture in which the rooms and the purpose of this floor have room."""
    rooms = sum(_room_width(path) + 8 for path in floor.paths)
    return round(ROOMS + rooms + 20 + WORD_LETTER * len(floor.purpose) + 14 + WALL)


def _room_width(path: str) -> float:
    return LETTER * len(path) + 18


def _opening(width: int, height: int) -> str:
    styles = " ".join(f".{name} {{ font: {font}; }}" for name, font in FONTS.items())
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}">\n'
        f"<style>{styles}</style>\n"
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>'
    )


def _roof(width: int) -> str:
    points = f"{WALL - 18},{ROOF} {width / 2:g},10 {width - WALL + 18},{ROOF}"
    middle = f'x="{width / 2:g}" y="{ROOF - 14}" text-anchor="middle"'
    return (
        f'<polygon points="{points}" fill="#b5523b"/>\n'
        f'<text class="word" {middle} fill="#ffffff">a file imports only from lower floors</text>'
    )


def _band(floor: Floor, index: int, width: int) -> str:
    top, tone = ROOF + BAND * index, TONES[index % len(TONES)]
    middle = top + BAND / 2 + 4.5
    parts = [
        f'<rect x="{WALL}" y="{top}" width="{width - 2 * WALL}" height="{BAND}" '
        f'fill="{tone}" stroke="#8a8f98"/>',
        f'<text class="word" x="{WALL + 20}" y="{middle:g}" fill="#6b7280">{floor.number}</text>',
    ]
    left = float(ROOMS)
    for path in floor.paths:
        parts.append(_room(path, left, top, middle))
        left += _room_width(path) + 8
    purpose = f'x="{width - WALL - 14}" y="{middle:g}" text-anchor="end" fill="#4b5563"'
    parts.append(f'<text class="word" {purpose}>{escape(floor.purpose)}</text>')
    return "\n".join(parts)


def _room(path: str, left: float, top: int, middle: float) -> str:
    box = f'x="{left:g}" y="{top + 10}" width="{_room_width(path):g}" height="{BAND - 20}" rx="4"'
    return (
        f'<rect {box} fill="#ffffff" stroke="#374151"/>\n'
        f'<text class="room" x="{left + 9:g}" y="{middle:g}" fill="#111827">{escape(path)}</text>'
    )


def _ground(width: int, height: int) -> str:
    return f'<rect x="0" y="{height - GROUND}" width="{width}" height="6" fill="#6f8f5a"/>'


def main(_: list[str]) -> None:
    """Runs the command line. Raises ConfigError."""
    check_file(flags.FLAGS.out, "--out")
    Path(flags.FLAGS.out).write_text(draw(read_floors(PAGE.read_text())))


if __name__ == "__main__":
    flags.DEFINE_string("out", "docs/house.svg", "file to write")
    run_command(main)
