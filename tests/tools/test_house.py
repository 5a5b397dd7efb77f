"""The picture of the floors follows their table."""

import pytest

from tools.house import PAGE, Floor, draw, read_floors


def test_the_picture_is_that_of_the_table():
    drawn = (PAGE.parent / "house.svg").read_text()
    assert drawn == draw(read_floors(PAGE.read_text())), "run: python -m tools.house"


def test_a_floor_with_many_rooms_makes_the_house_wider():
    few, many = (draw([Floor(1, ("config.py",) * count, "purpose")]) for count in (1, 9))
    width = lambda svg: int(svg.split('viewBox="0 0 ')[1].split()[0])
    assert width(many) > width(few) + 8 * 9 * len("config.py")


def test_floors_are_read_from_a_page():
    page = "text\n<!-- floors -->\n| floor | files |  |\n|---|---|---|\n| 2 | `a/` `b.py` | c |\n"
    assert read_floors(page + "<!-- end of floors -->") == [Floor(2, ("a/", "b.py"), "c")]


def test_a_page_without_floors_is_refused():
    with pytest.raises(ValueError, match="no table of floors"):
        read_floors("text")
