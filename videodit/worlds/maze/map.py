"""Writes the map of a clip for ViZDoom: a hall, a second room, and a door between them.

Lengths are in Doom's units: a person is 56 high, the hall 128. The player starts near the end x = 0
of the hall; x points to the door and y to the left. The file is a WAD whose map is a text in the
format UDMF, namespace "zdoom" (https://doomwiki.org/wiki/UDMF); the engine builds the nodes.
"""

import os
import struct
from collections.abc import Iterable
from itertools import pairwise
from typing import NamedTuple

LENGTH, WIDTH, HEIGHT = 768, 640, 128  # of the hall
DEPTH = 512  # length of the second room
DOOR, THICKNESS = 128, 16  # width of the door; thickness of the wall that it is in
PLAYER = 1  # the number of the thing that marks the player's place
DOOR_RAISE = 12  # the number of the action that opens a door
DOOR_ID = 1
STAYS = 10000  # tics that the door stays open
Point = tuple[int, int]


class Thing(NamedTuple):
    """A thing in the map."""

    number: int  # Doom's number of its type
    x: float
    y: float
    angle: int = 0  # degrees, counterclockwise from x


class Look(NamedTuple):
    """The textures of a room, by Doom's names, and its light."""

    wall: str
    floor: str
    ceiling: str = "CEIL3_5"
    light: int = 192  # 0 to 255


def write_map(
    path: str | os.PathLike, hall: Look, beyond: Look, things: Iterable[Thing], door_tics: int
) -> None:
    """Writes the WAD file.

    `beyond`: the look of the second room. `door_tics`: tics (1/35 s) that the door takes to open.
    """
    lumps = {
        "MAP01": b"",
        "TEXTMAP": _text(hall, beyond, things, door_tics).encode(),
        "ENDMAP": b"",
    }
    data, directory, offset = b"", b"", 12
    for name, lump in lumps.items():
        directory += struct.pack("<ii8s", offset + len(data), len(lump), name.encode())
        data += lump
    with open(path, "wb") as file:
        file.write(struct.pack("<4sii", b"PWAD", len(lumps), offset + len(data)) + data + directory)


def _text(hall: Look, beyond: Look, things: Iterable[Thing], door_tics: int) -> str:
    """The map in UDMF."""
    plan = _drawn(hall, beyond, door_tics)
    sectors = [_sector(hall, HEIGHT), _sector(beyond, HEIGHT), _sector(hall, 0) | {"id": DOOR_ID}]
    kinds = {
        "vertex": [{"x": float(x), "y": float(y)} for x, y in plan.points],
        "sector": sectors,
        "sidedef": plan.sides,
        "linedef": plan.lines,
        "thing": [_placed(thing) for thing in things],
    }
    blocks = (_block(kind, values) for kind, all_of in kinds.items() for values in all_of)
    return 'namespace = "zdoom";\n' + "".join(blocks)


def _drawn(hall: Look, beyond: Look, door_tics: int) -> "_Plan":
    """The walls of the hall (sector 0) and the second room (1), and the door between them (2)."""
    side, half, end = WIDTH // 2, DOOR // 2, LENGTH + THICKNESS
    plan = _Plan()
    left, right = (LENGTH, half), (LENGTH, -half)
    near = [left, (LENGTH, side), (0, side), (0, -side), (LENGTH, -side), right]
    far_left, far_right = (end, half), (end, -half)
    far_end = [(end + DEPTH, -side), (end + DEPTH, side)]
    far = [far_right, (end, -side), *far_end, (end, side), far_left]
    # A wall is visible from the right-hand side of its line.
    for points, sector, look in ((near[::-1], 0, hall), (far[::-1], 1, beyond)):
        for start, stop in pairwise(points):
            plan.wall(start, stop, sector, look.wall)
    speed = max(1, round(8 * HEIGHT / door_tics))  # eighths of a unit a tic
    opens = {
        "special": DOOR_RAISE,
        "arg0": DOOR_ID,
        "arg1": speed,
        "arg2": STAYS,
        "playeruse": True,
    }
    plan.opening(left, right, (0, 2), opens)
    plan.opening(far_right, far_left, (1, 2), opens)
    plan.wall(far_left, left, 2, "DOORTRAK")
    plan.wall(right, far_right, 2, "DOORTRAK")
    return plan


def _placed(thing: Thing) -> dict:
    """A thing that is there at every level of difficulty."""
    always = dict.fromkeys(("skill1", "skill2", "skill3", "skill4", "skill5", "single"), True)
    place = {"type": thing.number, "x": float(thing.x), "y": float(thing.y), "angle": thing.angle}
    return place | always


class _Plan:
    """Lines between points, and the surfaces on their sides."""

    def __init__(self) -> None:
        self.points: list[Point] = []
        self.sides: list[dict] = []
        self.lines: list[dict] = []

    def wall(self, start: Point, stop: Point, sector: int, texture: str) -> None:
        """Adds a wall of a sector."""
        side = self._side({"sector": sector, "texturemiddle": texture})
        self._line(start, stop, {"sidefront": side, "blocking": True})

    def opening(self, start: Point, stop: Point, sectors: tuple[int, int], action: dict) -> None:
        """Adds one side of the door between two sectors, as it looks from the first one."""
        front = self._side({"sector": sectors[0], "texturetop": "BIGDOOR2"})
        back = self._side({"sector": sectors[1]})
        self._line(start, stop, {"sidefront": front, "sideback": back, "twosided": True} | action)

    def _side(self, values: dict) -> int:
        """Adds a side; returns its index."""
        self.sides.append(values)
        return len(self.sides) - 1

    def _line(self, start: Point, stop: Point, values: dict) -> None:
        self.lines.append({"v1": self._point(start), "v2": self._point(stop)} | values)

    def _point(self, point: Point) -> int:
        """The index of a point, which is added if it is new."""
        if point not in self.points:
            self.points.append(point)
        return self.points.index(point)


def _sector(look: Look, height: int) -> dict:
    """A room of this height; a closed door has height 0."""
    return {
        "texturefloor": look.floor,
        "textureceiling": look.ceiling,
        "heightfloor": 0,
        "heightceiling": height,
        "lightlevel": look.light,
    }


def _block(kind: str, values: dict) -> str:
    """One block of UDMF."""

    def text(value: bool | str | float) -> str:
        if isinstance(value, bool):
            return str(value).lower()
        return f'"{value}"' if isinstance(value, str) else str(value)

    return kind + " { " + " ".join(f"{name} = {text(v)};" for name, v in values.items()) + " }\n"
