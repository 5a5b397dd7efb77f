import re
import struct

import pytest

from videodit.worlds.maze.map import Look, Thing, write_map


@pytest.fixture
def text(tmp_path):
    """The map's text, read back from the file."""
    write_map(tmp_path / "a.wad", Look("BRICK7", "FLAT1"), Look("STONE2", "LAVA1"), [THING], 32)
    data = (tmp_path / "a.wad").read_bytes()
    kind, count, directory = struct.unpack_from("<4sii", data)
    entries = [struct.unpack_from("<ii8s", data, directory + 16 * k) for k in range(count)]
    assert kind == b"PWAD" and len(data) == directory + 16 * count
    names = [name.rstrip(b"\0") for *_, name in entries]
    assert names == [b"MAP01", b"TEXTMAP", b"ENDMAP"]
    offset, size, _ = entries[1]
    return data[offset : offset + size].decode()


THING = Thing(2035, 100.5, -20)


def test_rooms_have_their_textures_and_things(text):
    assert text.count('"BRICK7"') == 5 and text.count('"STONE2"') == 5
    assert 'texturefloor = "LAVA1"' in text
    assert "type = 2035; x = 100.5; y = -20.0;" in text


def test_the_door_opens_in_time(text):
    assert text.count("special = 12") == 2  # seen from both rooms
    speed = int(re.search(r"arg1 = (\d+)", text)[1])
    assert 128 / (speed / 8) == 32


def test_every_line_has_a_side(text):
    sides = text.count("sidedef {")
    used = [int(k) for k in re.findall(r"side(?:front|back) = (\d+)", text)]
    assert sorted(used) == list(range(sides))
