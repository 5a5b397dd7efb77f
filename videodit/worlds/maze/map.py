"""A map for ViZDoom, written as a WAD file: a hall, a second room, and a door between them.

Units are Doom's: a person is 56 high, a hall 128. x goes ahead, y to the left of one who enters.
Format: https://doomwiki.org/wiki/UDMF in the namespace "zdoom" (the engine builds the nodes).
"""

import os
import struct
from itertools import pairwise
from typing import NamedTuple

LENGTH, WIDTH, DEPTH, HEIGHT = 768, 640, 512, 128  # of the hall, its width, the second room
DOOR, THICKNESS = 128, 16  # width of the door, and of the wall that it is in
PLAYER = 1
DOOR_RAISE, STAYS = 12, 10000  # the action of a door; tics for which it stays open
Point = tuple[int, int]


class Thing(NamedTuple):
    """What stands in the map."""

    number: int  # Doom's type of thing
    x: float
    y: float
    angle: int = 0  # degrees, against the clock from x


class Look(NamedTuple):
    """Textures of a hall, by Doom's names."""

    wall: str
    floor: str
    ceiling: str = "CEIL3_5"
    light: int = 192  # 0 to 255


def write_map(path: str | os.PathLike, hall: Look, beyond: Look, things, door_tics: int) -> None:
    """`things`: iterable of Thing. `door_tics`: how long the door takes to open (1/35 s each)."""
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


def _text(hall: Look, beyond: Look, things, door_tics: int) -> str:
    side, half, end = WIDTH // 2, DOOR // 2, LENGTH + THICKNESS
    speed = max(1, round(8 * HEIGHT / door_tics))  # eighths of a unit a tic
    opens = {"special": DOOR_RAISE, "arg0": 1, "arg1": speed, "arg2": STAYS, "playeruse": True}
    plan = _Plan()
    left, right = (LENGTH, half), (LENGTH, -half)
    near = [left, (LENGTH, side), (0, side), (0, -side), (LENGTH, -side), right]
    far_left, far_right = (end, half), (end, -half)
    far = [
        far_right,
        (end, -side),
        (end + DEPTH, -side),
        (end + DEPTH, side),
        (end, side),
        far_left,
    ]
    # A wall is seen from the right of its line.
    for points, sector, look in ((near[::-1], 0, hall), (far[::-1], 1, beyond)):
        for start, stop in pairwise(points):
            plan.wall(start, stop, sector, look.wall)
    plan.opening(left, right, (0, 2), opens)
    plan.opening(far_right, far_left, (1, 2), opens)
    plan.wall(far_left, left, 2, "DOORTRAK")
    plan.wall(right, far_right, 2, "DOORTRAK")
    sectors = [_sector(hall, HEIGHT), _sector(beyond, HEIGHT), _sector(hall, 0) | {"id": 1}]
    always = dict.fromkeys(("skill1", "skill2", "skill3", "skill4", "skill5", "single"), True)
    placed = [
        {"type": t.number, "x": float(t.x), "y": float(t.y), "angle": t.angle} | always
        for t in things
    ]
    kinds = {
        "vertex": [{"x": float(x), "y": float(y)} for x, y in plan.points],
        "sector": sectors,
        "sidedef": plan.sides,
        "linedef": plan.lines,
        "thing": placed,
    }
    blocks = (_block(kind, values) for kind, all_of in kinds.items() for values in all_of)
    return 'namespace = "zdoom";\n' + "".join(blocks)


class _Plan:
    """Lines between points, and what is on their sides."""

    def __init__(self):
        self.points: list[Point] = []
        self.sides: list[dict] = []
        self.lines: list[dict] = []

    def wall(self, start: Point, stop: Point, sector: int, texture: str) -> None:
        side = self._side({"sector": sector, "texturemiddle": texture})
        self._line(start, stop, {"sidefront": side, "blocking": True})

    def opening(self, start: Point, stop: Point, sectors: tuple[int, int], action: dict) -> None:
        """A door as seen from the first sector."""
        front = self._side({"sector": sectors[0], "texturetop": "BIGDOOR2"})
        back = self._side({"sector": sectors[1]})
        self._line(start, stop, {"sidefront": front, "sideback": back, "twosided": True} | action)

    def _side(self, values: dict) -> int:
        self.sides.append(values)
        return len(self.sides) - 1

    def _line(self, start: Point, stop: Point, values: dict) -> None:
        self.lines.append({"v1": self._point(start), "v2": self._point(stop)} | values)

    def _point(self, point: Point) -> int:
        if point not in self.points:
            self.points.append(point)
        return self.points.index(point)


def _sector(look: Look, height: int) -> dict:
    return {
        "texturefloor": look.floor,
        "textureceiling": look.ceiling,
        "heightfloor": 0,
        "heightceiling": height,
        "lightlevel": look.light,
    }


def _block(kind: str, values: dict) -> str:
    def text(value) -> str:
        if isinstance(value, bool):
            return str(value).lower()
        return f'"{value}"' if isinstance(value, str) else str(value)

    return kind + " { " + " ".join(f"{name} = {text(v)};" for name, v in values.items()) + " }\n"
