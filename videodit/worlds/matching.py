"""Objects have names only to tell them apart: which object of a detector is which of the truth."""

import itertools

from videodit.worlds.world import Detection, Slots


def match(slots: Slots, said: dict[str, Detection]) -> dict[str, Detection]:
    """`said` with its objects named as in `slots`, so that the most slots have their true value.

    An object's name is one letter, as in "a.color", or the last word of a value, as in the a of
    {"b.event": "bounces off a"}. Of equally good names the first in the alphabet's order are taken.
    """
    names = sorted(_objects(slots) | _objects(said))
    ways = (dict(zip(names, order)) for order in itertools.permutations(names))
    renamed = (_rename(said, way) for way in ways)
    return max(renamed, key=lambda said: sum(slots.get(slot) == said[slot].value for slot in said))


def _objects(slots: dict) -> set[str]:
    return {slot[0] for slot in slots if slot[1:2] == "."}


def _rename(said: dict[str, Detection], names: dict[str, str]) -> dict[str, Detection]:
    renamed = {}
    for slot, (value, confidence) in said.items():
        head, dot, rest = slot.partition(".")
        first, space, last = value.rpartition(" ")
        last = names.get(last, last) if space else last
        renamed[f"{names.get(head, head)}{dot}{rest}"] = Detection(first + space + last, confidence)
    return renamed
