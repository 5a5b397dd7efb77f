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
    {?a.color}      asks that the clip has (with ! for ?: has not) this slot; claims nothing
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

Claims = frozenset[tuple[str, str]]
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

    def write(self, start: str, slots: Slots, rng: np.random.Generator) -> Caption:
        """A text of rule `start` that is true of `slots`. Raises ValueError if there is none."""
        written = self._write(self._expanded(start, ""), slots, rng)
        if written is None:
            raise ValueError(f"no template of {start!r} fits {slots}")
        tokens, claims = written
        return Caption(_prose(tokens), dict(sorted(claims)))

    def read(self, starts: tuple[str, ...], text: str) -> Slots:
        """What a text of one of these rules claims.

        Raises ValueError naming the words that cannot be read, and if it can be read in two ways.
        """
        reading = _Reading(self._expanded, _tokens(text))
        found = {claims for start in starts for claims in reading.whole(_Rule(start, ""))}
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

    def _phrases(self, slot: str) -> dict[str, str]:
        for name in (slot, slot.split(".")[-1], slot.split(".")[0]):
            if name in self._words:
                return self._words[name]
        raise ValueError(f"{{{slot}}} is neither a rule nor a slot with words")

    def _write(
        self, node: NamedTuple, slots: Slots, rng: np.random.Generator
    ) -> tuple[tuple[str, ...], Claims] | None:
        """(tokens, claims) of a node, or None where it does not fit."""
        match node:
            case _Words(tokens):
                return tokens, NOTHING
            case _Claim(slot, value):
                return ((), frozenset({node})) if slots.get(slot) == value else None
            case _Need(slot, present):
                return ((), NOTHING) if (slot in slots) == present else None
            case _Rule(name, role):
                return self._write(self._expanded(name, role), slots, rng)
            case _All(parts):
                return self._write_all(parts, slots, rng)
            case _Any(options):
                options = list(options)
                while options:
                    option = options.pop(int(rng.random() * len(options)))
                    written = self._write(option, slots, rng)
                    if written is not None:
                        return written
        return None

    def _write_all(self, parts: tuple, slots: Slots, rng: np.random.Generator):
        tokens, claims = (), NOTHING
        for part in parts:
            written = self._write(part, slots, rng)
            if written is None:
                return None
            tokens, claims = tokens + written[0], claims | written[1]
        return tokens, claims


class _Reading:
    """All ways to read a text. Each node at each position is read once."""

    def __init__(self, expanded, tokens: tuple[str, ...]):
        self._expanded, self.tokens = expanded, tokens
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
            case _Need():
                return {(start, NOTHING)}
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
            case _Any(options):
                return {way for option in options for way in self._read(option, start)}

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


def _prose(tokens: tuple[str, ...]) -> str:
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
