"""The picture of the floors follows their table."""

import pytest

from tools.house import PAGE, Floor, draw, read_floors


def test_the_picture_is_that_of_the_table():
    drawn = (PAGE.parent / "house.svg").read_text()
    assert drawn == draw(read_floors(PAGE.read_text())), "run: python -m tools.house"


def test_floors_are_read_from_a_page():
    page = "text\n<!-- floors -->\n| floor | files |  |\n|---|---|---|\n| 2 | `a/` `b.py` | c |\n"
    assert read_floors(page + "<!-- end of floors -->") == [Floor(2, ("a/", "b.py"), "c")]


def test_a_page_without_floors_is_refused():
    with pytest.raises(ValueError, match="no table of floors"):
        read_floors("text")
