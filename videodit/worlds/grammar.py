"""Writes captions from templates, and reads captions with the same templates.

A grammar is a table of rules, each a list of templates, and a table of words:

    Grammar(
        rules={
            "short": ["{thing:a} {go:a}[ (past|by) {the:b}{event=a passes b}]"],
            "thing": ["a [{.size}] {.color} {.kind}"],
            "the": ["the {.color} {.kind}"],
            "go": ["(rolls|moves) {.motion}", "stays (where it is|still){.motion=still}"],
        },
        words={
            "color": {"red": "red|crimson", "blue": "blue"},
            "motion": {"left": "left|to the left", "right": "right|to the right"},
            ...
        },
    )

A template contains

    {rule}          any template of that rule. {rule:a} says that it is about a. A slot cannot have
                    the name of a rule.
    {a.color}       a phrase for the value of this slot. It claims that the slot has this value. In
                    a rule that is about a, {.color} is the same. The phrases are looked up in
                    `words` by "a.color", then "color", then "a".
    {a.color=red}   the claim that the slot has this value, without words
    {?a.color}      a condition: the clip has this slot
    {!a.color}      a condition: the clip does not have this slot; in reading, no other part of the
                    text may claim it
    (x|y), [x]      alternatives, and an optional part

A template is used only if the clip's slots meet its claims and conditions. Spaces are inserted, the
article "a" becomes "an" where English needs it, and sentences of a text that ends in a full stop
begin with a capital.
"""

import functools
import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from videodit.worlds.world import Caption, Slots

TOKEN = re.compile(r"[\w'-]+|[.,;:!?]")
TEMPLATE = re.compile(r"\{[^{}]*\}|[()\[\]|]|[^{}()\[\]|]+")
AN = re.compile(r"^(?!uni|use|usu|one|once|eu)([aeiou]|hour|honest)")
ENDS = (".", "!", "?")

Claims = frozenset[tuple[str, str | None]]  # slot, value; None: nothing may claim this slot
NOTHING: Claims = frozenset()


class _Words(NamedTuple):
    tokens: tuple[str, ...]


class _Claim(NamedTuple):
    slot: str
    value: str


class _Need(NamedTuple):
    slot: str
    present: bool


class _Rule(NamedTuple):
    name: str
    role: str


class _All(NamedTuple):
    """Its parts, one after the other."""

    parts: tuple["_Node", ...]


class _Any(NamedTuple):
    """One of its options."""

    options: tuple["_Node", ...]


_Node = _Words | _Claim | _Need | _Rule | _All | _Any
_Expand = Callable[[str, str], _Any]  # the tree of a rule, by its name and what it is about
_Index = dict[str | None, list[_Node]]  # options by the token with which they begin


class Grammar:
    """Writes and reads the captions of a world."""

    def __init__(self, rules: dict[str, list[str]], words: dict[str, dict[str, str]]):
        """`rules`: name -> templates. `words`: slot -> value -> phrases, separated by "|".

        A key of `words` may also be the first or the last part of a slot's name.
        """
        self._rules, self._words = rules, words
        self._expanded: _Expand = functools.cache(self._expand)
        self._indexes: dict[int, _Index] = {}

    def write(self, start: str, slots: Slots, rng: np.random.Generator) -> Caption:
        """A random text of rule `start` that is true of `slots`.

        Raises ValueError if no template fits them.
        """
        writing = _Writing(self._expanded, slots, rng)
        node = _Rule(start, "")
        if not writing.fits(node):
            raise ValueError(f"no template of {start!r} fits {slots}")
        writing.write(node)
        return Caption(_prose(writing.tokens), dict(sorted(writing.claims.items())))

    def read(self, starts: tuple[str, ...], text: str) -> Slots:
        """What a text claims, read as one of the rules `starts`.

        Raises ValueError that names the words it cannot read, or the claims of several readings.
        """
        reading = _Reading(self._expanded, self._index, _tokens(text))
        found = {claims for start in starts for claims in reading.whole(_Rule(start, ""))}
        read = {
            frozenset((slot, value) for slot, value in claims if value is not None)
            for claims in found
        }
        if not read:
            rest = " ".join(reading.tokens[reading.furthest :]) or "nothing after its last word"
            raise ValueError(f"cannot read {rest!r} in {text!r}")
        if len(read) > 1:
            ways = " or ".join(str(dict(sorted(claims))) for claims in read)
            raise ValueError(f"{text!r} can be read in several ways: {ways}")
        return dict(sorted(read.pop()))

    def _expand(self, name: str, role: str) -> _Any:
        """The tree of a rule's templates, about `role`."""
        options: list[_Node] = []
        for template in self._rules[name]:
            pieces = TEMPLATE.findall(template)
            options.append(self._alternatives(pieces, role))
            if pieces:
                raise ValueError(f"{name}: {template!r} closes what it did not open")
        return _Any(tuple(options))

    def _alternatives(self, pieces: list[str], role: str) -> _Any:
        """The tree of the pieces up to a closing bracket. Removes these pieces from the list."""
        options: list[_Node] = []
        parts: list[_Node] = []
        while pieces and pieces[0] not in ")]":
            piece = pieces.pop(0)
            if piece == "|":
                options.append(_All(tuple(parts)))
                parts = []
            elif piece in "([":
                inner = self._alternatives(pieces, role)
                pieces.pop(0)
                parts.append(inner if piece == "(" else _Any((*inner.options, _All(()))))
            elif piece.startswith("{"):
                parts.append(self._field(piece[1:-1], role))
            else:
                parts.append(_Words(_tokens(piece)))
        return _Any((*options, _All(tuple(parts))))

    def _field(self, field: str, role: str) -> _Node:
        """The tree of what stands between braces."""
        if field[0] in "?!":
            return _Need(_slot(field[1:], role), field[0] == "?")
        if "=" in field:
            slot, value = field.split("=", 1)
            return _Claim(_slot(slot, role), value)
        name, _, about = field.partition(":")
        if name in self._rules:
            return _Rule(name, about or role)
        slot = _slot(field, role)
        options = [
            _All((_Words(_tokens(phrase)), _Claim(slot, value)))
            for value, phrases in self._phrases(slot).items()
            for phrase in phrases.split("|")
        ]
        return _Any(tuple(options))

    def _index(self, node: _Any) -> _Index:
        """The options by the tokens with which they can begin; None: options that can be empty."""
        if id(node) not in self._indexes:
            index: _Index = {}
            self._indexes[id(node)] = index
            for option in node.options:
                for token in self._starts(option):
                    index.setdefault(token, []).append(option)
        return self._indexes[id(node)]

    def _starts(self, node: _Node) -> set[str | None]:
        """The tokens with which a node can begin, and None if it can be empty."""
        match node:
            case _Words(tokens):
                return {tokens[0] if tokens else None}
            case _Rule(name, role):
                return self._starts(self._expanded(name, role))
            case _Any():
                return set(self._index(node))
            case _All(parts):
                starts: set[str | None] = {None}
                for part in parts:
                    if None in starts:
                        starts = (starts - {None}) | self._starts(part)
                return starts
        return {None}

    def _phrases(self, slot: str) -> dict[str, str]:
        """The phrases of each value of a slot."""
        for name in (slot, slot.split(".")[-1], slot.split(".")[0]):
            if name in self._words:
                return self._words[name]
        raise ValueError(f"{{{slot}}} is neither a rule nor a slot with words")


class _Writing:
    """Writes one text and collects its claims; remembers which nodes fit the slots."""

    def __init__(self, expanded: _Expand, slots: Slots, rng: np.random.Generator):
        self._expanded, self._slots, self._rng = expanded, slots, rng
        self._known: dict[int, bool] = {}
        self.tokens: list[str] = []
        self.claims: Slots = {}

    def fits(self, node: _Node) -> bool:
        """Whether there is a way to write the node whose claims and conditions the slots meet."""
        match node:
            case _Claim(slot, value):
                return self._slots.get(slot) == value
            case _Need(slot, present):
                return (slot in self._slots) == present
            case _Words():
                return True
        known = self._known.get(id(node))
        if known is None:
            known = self._known[id(node)] = self._fits(node)
        return known

    def _fits(self, node: _Rule | _All | _Any) -> bool:
        match node:
            case _Rule(name, role):
                return self.fits(self._expanded(name, role))
            case _All(parts):  # claims and conditions are checked first: they are quick
                quick = all(self.fits(part) for part in parts if isinstance(part, _Claim | _Need))
                return quick and all(map(self.fits, parts))
            case _Any(options):
                return any(map(self.fits, options))

    def write(self, node: _Node) -> None:
        """Appends a node that fits to the text."""
        match node:
            case _Words(tokens):
                self.tokens += tokens
            case _Claim(slot, value):
                self.claims[slot] = value
            case _Rule(name, role):
                self.write(self._expanded(name, role))
            case _All(parts):
                for part in parts:
                    self.write(part)
            case _Any(options):
                fitting = [option for option in options if self.fits(option)]
                self.write(fitting[int(self._rng.random() * len(fitting))])


class _Reading:
    """Finds all ways to read a text; reads each rule at each position once."""

    def __init__(self, expanded: _Expand, index: Callable[[_Any], _Index], tokens: tuple[str, ...]):
        self._expanded, self._index, self.tokens = expanded, index, tokens
        self._known: dict[tuple, set[tuple[int, Claims]]] = {}
        self.furthest = 0  # tokens: how far any reading came

    def whole(self, node: _Node) -> set[Claims]:
        """The claims of every way to read the whole text as the node."""
        return {claims for end, claims in self._read(node, 0) if end == len(self.tokens)}

    def _read(self, node: _Node, start: int) -> set[tuple[int, Claims]]:
        """(end, claims) of every way to read the tokens from `start` on as the node."""
        match node:
            case _Words(tokens):
                end = start + len(tokens)
                if self.tokens[start:end] != tokens:
                    return set()
                self.furthest = max(self.furthest, end)
                return {(end, NOTHING)}
            case _Claim(slot, value):
                return {(start, frozenset({(slot, value)}))}
            case _Need(slot, present):
                return {(start, NOTHING if present else frozenset({(slot, None)}))}
            case _Rule(name, role):
                key = (name, role, start)
                if key not in self._known:
                    self._known[key] = self._read(self._expanded(name, role), start)
                return self._known[key]
            case _All(parts):
                ways = {(start, NOTHING)}
                for part in parts:
                    ways = {way for before in ways for way in self._continue(part, before)}
                return ways
            case _Any():
                return {
                    way for option in self._begun(node, start) for way in self._read(option, start)
                }

    def _begun(self, node: _Any, start: int) -> list[_Node]:
        """The options that can begin at `start`."""
        index = self._index(node)
        token = self.tokens[start] if start < len(self.tokens) else None
        empty = index.get(None, [])
        return empty if token is None else index.get(token, []) + empty

    def _continue(self, part: _Node, before: tuple[int, Claims]) -> Iterator[tuple[int, Claims]]:
        """The ways to read `part` after a way `before` that do not contradict it."""
        middle, claimed = before
        for end, claims in self._read(part, middle):
            if _agree(claimed, claims):
                yield end, claimed | claims


def _agree(one: Claims, other: Claims) -> bool:
    """Whether the claims together give no slot two values."""
    if not one or not other:
        return True
    both = one | other
    return len({slot for slot, _ in both}) == len(both)


def _slot(name: str, role: str) -> str:
    """The full name of a slot in a rule about `role`."""
    return role + name if name.startswith(".") else name


def _tokens(text: str) -> tuple[str, ...]:
    """The words and punctuation marks in lower case; "an" becomes "a"."""
    return tuple("a" if token == "an" else token for token in TOKEN.findall(text.lower()))


def _prose(tokens: list[str]) -> str:
    """Tokens as English: with the right articles and spaces, and with capitals if it has stops."""
    capitals = tokens[-1] in ENDS
    words: list[str] = []
    for i, token in enumerate(tokens):
        if token == "a" and AN.match("".join(tokens[i + 1 : i + 2])):
            token = "an"
        if capitals and (i == 0 or tokens[i - 1] in ENDS):
            token = token[0].upper() + token[1:]
        mark = not token[0].isalnum()
        words.append(token if mark or not words else " " + token)
    return "".join(words)
