"""Captions from templates, and the reader made from the same templates.

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

In a template
    {rule}          is any template of that rule; {rule:a} says that it is about a; a slot can't
                    have a rule's name
    {a.color}       is a phrase for the value of this slot, and claims it; in a rule that is about
                    a, {.color} is the same; words are looked up by "a.color", "color", then "a"
    {a.color=red}   claims that the slot has this value, and writes nothing
    {?a.color}      asks that the clip has this slot; {!a.color}, that it has not: no other part of
                    the text is read as a claim of it
    (x|y), [x]      are alternatives, and what may be left out
A template is used only where the clip has all that it claims and asks for. The article "a" becomes
"an" where it must; a text that ends in a full stop gets capitals; spaces look after themselves.
"""

import functools
import re
from typing import NamedTuple

import numpy as np

from videodit.worlds.world import Caption, Slots

TOKEN = re.compile(r"[\w'-]+|[.,;:!?]")
TEMPLATE = re.compile(r"\{[^{}]*\}|[()\[\]|]|[^{}()\[\]|]+")
AN = re.compile(r"^(?!uni|use|usu|one|once|eu)([aeiou]|hour|honest)")
ENDS = (".", "!", "?")

Claims = frozenset[tuple[str, str | None]]  # None: the text claims nothing of this slot
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
    parts: tuple


class _Any(NamedTuple):
    options: tuple


class Grammar:
    """Writes and reads the captions of a world."""

    def __init__(self, rules: dict[str, list[str]], words: dict[str, dict[str, str]]):
        """`words`: slot (or its first or last part) -> value -> its phrases, separated by "|"."""
        self._rules, self._words = rules, words
        self._expanded = functools.cache(self._expand)
        self._indexes: dict[int, dict[str | None, list]] = {}

    def write(self, start: str, slots: Slots, rng: np.random.Generator) -> Caption:
        """A text of rule `start` that is true of `slots`. Raises ValueError if there is none."""
        writing = _Writing(self._expanded, slots, rng)
        node = _Rule(start, "")
        if not writing.fits(node):
            raise ValueError(f"no template of {start!r} fits {slots}")
        writing.write(node)
        return Caption(_prose(writing.tokens), dict(sorted(writing.claims.items())))

    def read(self, starts: tuple[str, ...], text: str) -> Slots:
        """What a text of one of these rules claims.

        Raises ValueError naming the words that cannot be read, and if it can be read in two ways.
        """
        reading = _Reading(self._expanded, self._index, _tokens(text))
        found = {claims for start in starts for claims in reading.whole(_Rule(start, ""))}
        found = {frozenset(claim for claim in claims if claim[1]) for claims in found}
        if not found:
            rest = " ".join(reading.tokens[reading.furthest :]) or "nothing after its last word"
            raise ValueError(f"cannot read {rest!r} in {text!r}")
        if len(found) > 1:
            ways = " or ".join(str(dict(sorted(claims))) for claims in found)
            raise ValueError(f"{text!r} can be read in several ways: {ways}")
        return dict(sorted(found.pop()))

    def _expand(self, name: str, role: str) -> _Any:
        """A rule's templates as a tree, about `role`."""
        options = []
        for template in self._rules[name]:
            pieces = TEMPLATE.findall(template)
            options.append(self._alternatives(pieces, role))
            if pieces:
                raise ValueError(f"{name}: {template!r} closes what it did not open")
        return _Any(tuple(options))

    def _alternatives(self, pieces: list[str], role: str) -> _Any:
        """The tree of the pieces up to a closing bracket, which is left in the list."""
        options, parts = [], []
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

    def _field(self, field: str, role: str) -> NamedTuple:
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

    def _index(self, node: _Any) -> dict[str | None, list]:
        """The options that can begin with each token; under None those that can be empty."""
        if id(node) not in self._indexes:
            index = self._indexes[id(node)] = {}
            for option in node.options:
                for token in self._starts(option):
                    index.setdefault(token, []).append(option)
        return self._indexes[id(node)]

    def _starts(self, node: NamedTuple) -> set[str | None]:
        """The tokens that a node can begin with; None if it can be empty."""
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
        for name in (slot, slot.split(".")[-1], slot.split(".")[0]):
            if name in self._words:
                return self._words[name]
        raise ValueError(f"{{{slot}}} is neither a rule nor a slot with words")


class _Writing:
    """One text and its claims. Whether a node fits the slots is found once."""

    def __init__(self, expanded, slots: Slots, rng: np.random.Generator):
        self._expanded, self._slots, self._rng = expanded, slots, rng
        self._known: dict[int, bool] = {}
        self.tokens: list[str] = []
        self.claims: Slots = {}

    def fits(self, node: NamedTuple) -> bool:
        """Whether all that the node would claim and ask for is so."""
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

    def _fits(self, node: NamedTuple) -> bool:
        match node:
            case _Rule(name, role):
                return self.fits(self._expanded(name, role))
            case _All(parts):  # a claim is quickly refused, a rule slowly
                quick = all(self.fits(part) for part in parts if isinstance(part, _Claim | _Need))
                return quick and all(map(self.fits, parts))
        return any(map(self.fits, node.options))

    def write(self, node: NamedTuple) -> None:
        """Adds a node that fits to the text."""
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
                options = [option for option in options if self.fits(option)]
                self.write(options[int(self._rng.random() * len(options))])


class _Reading:
    """All ways to read a text. Each node at each position is read once."""

    def __init__(self, expanded, index, tokens: tuple[str, ...]):
        self._expanded, self._index, self.tokens = expanded, index, tokens
        self._known: dict[tuple, set[tuple[int, Claims]]] = {}
        self.furthest = 0

    def whole(self, node: NamedTuple) -> set[Claims]:
        """The claims of every way in which the node is the whole text."""
        return {claims for end, claims in self._read(node, 0) if end == len(self.tokens)}

    def _read(self, node: NamedTuple, start: int) -> set[tuple[int, Claims]]:
        """(end, claims) of every way in which the node can be read from `start` on."""
        match node:
            case _Words(tokens):
                end = start + len(tokens)
                if self.tokens[start:end] != tokens:
                    return set()
                self.furthest = max(self.furthest, end)
                return {(end, NOTHING)}
            case _Claim():
                return {(start, frozenset({tuple(node)}))}
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

    def _begun(self, node: _Any, start: int) -> list:
        """The options that may stand at `start`."""
        index = self._index(node)
        token = self.tokens[start] if start < len(self.tokens) else None
        empty = index.get(None, [])
        return empty if token is None else index.get(token, []) + empty

    def _continue(self, part: NamedTuple, before: tuple[int, Claims]):
        middle, claimed = before
        for end, claims in self._read(part, middle):
            if _agree(claimed, claims):
                yield end, claimed | claims


def _agree(one: Claims, other: Claims) -> bool:
    """Whether no slot has two values."""
    if not one or not other:
        return True
    both = one | other
    return len({slot for slot, _ in both}) == len(both)


def _slot(name: str, role: str) -> str:
    return role + name if name.startswith(".") else name


def _tokens(text: str) -> tuple[str, ...]:
    """Words and punctuation marks, in small letters; "an" becomes "a"."""
    return tuple("a" if token == "an" else token for token in TOKEN.findall(text.lower()))


def _prose(tokens: list[str]) -> str:
    """Tokens as written English: the right article, spaces, and capitals where there are stops."""
    words, capitals = [], tokens[-1] in ENDS
    for i, token in enumerate(tokens):
        if token == "a" and AN.match("".join(tokens[i + 1 : i + 2])):
            token = "an"
        if capitals and (i == 0 or tokens[i - 1] in ENDS):
            token = token[0].upper() + token[1:]
        mark = not token[0].isalnum()
        words.append(token if mark or not words else " " + token)
    return "".join(words)
