from videodit.worlds.matching import match
from videodit.worlds.world import Detection


def sure(slots):
    return {slot: Detection(value, 1.0) for slot, value in slots.items()}


def test_objects_get_the_names_that_make_most_slots_right():
    slots = {
        "a.color": "red",
        "a.kind": "ball",
        "b.color": "blue",
        "b.kind": "ring",
        "b.event": "bounces off a",
        "count": "two",
    }
    said = {
        "a.color": "blue",
        "a.kind": "ring",
        "a.event": "bounces off b",
        "b.color": "red",
        "b.kind": "star",
        "count": "two",
    }
    expected = slots | {"a.kind": "star"}
    assert match(slots, sure(said)) == sure(expected)
    assert match(slots, sure(slots)) == sure(slots)


def test_an_object_too_many_keeps_a_name_of_its_own():
    slots = {"a.color": "red", "b.color": "blue"}
    said = {"a.color": "green", "b.color": "red", "c.color": "blue"}
    assert match(slots, sure(said)) == sure(slots | {"c.color": "green"})


def test_what_is_no_object_stays():
    said = {"stroke1.color": "red", "camera": "a", "place": "near a", "e1.verb": "opens a door"}
    assert match(said, sure(said)) == sure(said)
    assert match({}, {}) == {}
