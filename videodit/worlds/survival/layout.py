"""The grid of tiles in a picture of Crafter: the world, and below it the inventory."""

from itertools import product

import numpy as np
from crafter import constants

TILE = 16  # pixels: the size of Crafter's textures
TILES = 63  # of the world that a picture should show
ITEMS = len(constants.items)


def grid_of(width: int, height: int) -> tuple[int, int]:
    """(columns, rows) of tiles in a picture of this size, the rows of the inventory included."""

    def misfit(tiles: tuple[int, int]) -> float:
        columns, rows = tiles
        stretch = abs(np.log(columns / rows * height / width))
        return 8 * stretch + abs(np.log(columns * (rows - item_rows(columns)) / TILES))

    sizes = [
        (columns, rows + item_rows(columns))
        for columns, rows in product(range(5, 24, 2), range(3, 16, 2))
    ]
    return min(sizes, key=misfit)


def item_rows(columns: int) -> int:
    """Rows of tiles that the inventory takes below the world."""
    return -(-ITEMS // columns)
