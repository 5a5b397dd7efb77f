"""The tiles of a picture of rooms: how many rooms there are, and where each tile lies."""

import numpy as np

from videodit.worlds.grids import resized

TILE = 16  # pixels
WALL = 100  # grey level around the rooms


def layout_of(width: int, height: int) -> tuple[int, int]:
    """(columns, rows) of rooms in a picture of this size: those whose aspect fits best."""
    layouts = [(1, 1), (2, 1), (3, 1), (1, 2), (1, 3)]
    return min(layouts, key=lambda layout: abs(np.log(layout[0] / layout[1] * height / width)))


def room_sizes(layout: tuple[int, int]) -> tuple[int, ...]:
    """How many tiles a side of a room may measure, its walls included."""
    return (6, 7, 8) if layout == (1, 1) else (5, 6)


def margins(width: int, height: int, columns: int, rows: int) -> tuple[int, int]:
    """Pixels of wall on (the left and the right, the top and the bottom) of columns x rows tiles.

    They pad the tiles, of TILE pixels each, to the aspect of width x height.
    """
    across, down = columns * TILE, rows * TILE
    return (
        max(round((down * width / height - across) / 2), 0),
        max(round((across * height / width - down) / 2), 0),
    )


def fitted(picture: np.ndarray, width: int, height: int) -> np.ndarray:
    """A picture of whole tiles (uint8 H W 3), padded with wall to the aspect and resized."""
    rows, columns = (size // TILE for size in picture.shape[:2])
    x, y = margins(width, height, columns, rows)
    padded = np.pad(picture, ((y, y), (x, x), (0, 0)), constant_values=WALL)
    return resized(padded, width, height)
