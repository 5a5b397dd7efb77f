"""Matches the objects that a detector found to the objects of the truth, and tells slots' kinds.

The names of objects (a, b, c) mean nothing: a detector may give them in another order.
"""

import itertools
import re
from collections.abc import Iterable

from videodit.worlds.world import Detection, Slots


def match(slots: Slots, said: dict[str, Detection]) -> dict[str, Detection]:
    """`said` with its objects renamed so that as many slots as possible have their true value.

    `slots`: the truth. An object's name is the single letter before the dot of a slot's name, as in
    "a.color"; it may also be the last word of a value, as in {"b.event": "bounces off a"}. Among
    equally good renamings, the first in alphabetical order is chosen.
    """
    names = sorted(_objects(slots) | _objects(said))
    ways = (dict(zip(names, order)) for order in itertools.permutations(names))
    renamed = (_rename(said, way) for way in ways)
    return max(renamed, key=lambda said: sum(slots.get(slot) == said[slot].value for slot in said))


def kind_of(slot: str) -> str:
    """The kind of a slot: a.color -> *.color, e2.verb -> e*.verb, count.ball -> count.*."""
    if numbered := re.match(r"([a-z]+)\d+\.(.+)", slot):
        return "{}*.{}".format(*numbered.groups())
    first, dot, rest = slot.partition(".")
    if dot and len(first) == 1:
        return f"*.{rest}"
    return f"{first}.*" if dot else slot


def _objects(slots: Iterable[str]) -> set[str]:
    """The names of the objects in these names of slots."""
    return {slot[0] for slot in slots if slot[1:2] == "."}


def _rename(said: dict[str, Detection], names: dict[str, str]) -> dict[str, Detection]:
    """`names`: old name of an object -> new name."""
    renamed = {}
    for slot, (value, confidence) in said.items():
        head, dot, rest = slot.partition(".")
        first, space, last = value.rpartition(" ")
        last = names.get(last, last) if space else last
        renamed[f"{names.get(head, head)}{dot}{rest}"] = Detection(first + space + last, confidence)
    return renamed
