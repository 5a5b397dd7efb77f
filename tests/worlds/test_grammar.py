import numpy as np
import pytest

from videodit.worlds.grammar import Grammar

RULES = {
    "short": ["{thing:a} {go:a}[ (past|by) {the:b}{event=a passes b}]"],
    "long": ["{thing:a} {go:a}. {second}[ there is nothing else{!b.kind}.]"],
    "second": ["{the:a} passes {the:b}{event=a passes b}.", "{!b.kind}"],
    "thing": ["a [{.size}] {.color} {.kind}"],
    "the": ["the {.color} {.kind}"],
    "go": ["(rolls|moves) {.motion}", "stays still{.motion=still}"],
}
WORDS = {
    "size": {"small": "small", "large": "large|enormous"},
    "color": {"red": "red|crimson", "orange": "orange"},
    "kind": {"ball": "ball", "box": "box"},
    "motion": {"left": "left|to the left", "right": "right"},
}
GRAMMAR = Grammar(RULES, WORDS)
ONE = {"a.size": "large", "a.color": "orange", "a.kind": "ball", "a.motion": "left"}
TWO = ONE | {"b.color": "red", "b.kind": "box", "event": "a passes b"}


def written(start, slots, count=200):
    rng = np.random.default_rng(0)
    return [GRAMMAR.write(start, slots, rng) for _ in range(count)]


@pytest.mark.parametrize("slots", [ONE, TWO, ONE | {"a.motion": "still"}])
@pytest.mark.parametrize("start", ["short", "long"])
def test_what_is_written_is_true_and_reads_back(start, slots):
    for caption in written(start, slots):
        assert caption.slots.items() <= slots.items()
        assert GRAMMAR.read(("short", "long"), caption.text) == caption.slots


def test_all_that_the_templates_allow_is_written():
    texts = {caption.text for caption in written("short", ONE)}
    ways = [
        f"{thing} {verb} {way}"
        for thing in ("an orange ball", "a large orange ball", "an enormous orange ball")
        for verb in ("rolls", "moves")
        for way in ("left", "to the left")
    ]
    assert texts == set(ways)


def test_prose_has_articles_capitals_and_marks():
    texts = {caption.text for caption in written("long", TWO | {"b.color": "orange"})}
    assert "An orange ball rolls left. The orange ball passes the orange box." in texts


def test_what_is_asked_for_decides():
    assert not any("nothing else" in caption.text for caption in written("long", TWO))
    assert any("nothing else" in caption.text for caption in written("long", ONE))
    with pytest.raises(ValueError, match="no template of 'short' fits"):
        GRAMMAR.write("short", {"a.kind": "ball"}, np.random.default_rng(0))


def test_readings_that_contradict_are_refused():
    same = "A red ball rolls left. The red ball passes the orange box."
    assert GRAMMAR.read(("long",), same)["b.color"] == "orange"
    with pytest.raises(ValueError):
        GRAMMAR.read(("long",), same.replace("The red ball", "The orange ball"))


@pytest.mark.parametrize(
    "text, rest",
    [
        ("a red ball flies left", "'flies left'"),
        ("a pink ball rolls left", "'pink ball rolls left'"),
        ("a red ball", "'nothing after its last word'"),
        ("", "'nothing after its last word'"),
    ],
)
def test_what_cannot_be_read_is_named(text, rest):
    with pytest.raises(ValueError, match=f"cannot read {rest}"):
        GRAMMAR.read(("short", "long"), text)


def test_two_readings_are_refused():
    grammar = Grammar({"short": ["it turns{motion=left}", "it turns{motion=right}"]}, {})
    with pytest.raises(ValueError, match="several ways"):
        grammar.read(("short",), "it turns")


def test_what_must_be_absent_is_not_read():
    rules = {
        "short": ["{one:a}{!b.color}: {again}"],
        "again": ["{one:a}", "{one:b}"],
        "one": ["a {.color} one"],
    }
    read = Grammar(rules, WORDS).read
    assert read(("short",), "a red one: a red one") == {"a.color": "red"}


@pytest.mark.parametrize(
    "template, message", [("a {shade}", "shade"), ("a) ball", "closes what it did not open")]
)
def test_a_wrong_template_is_refused(template, message):
    grammar = Grammar({"short": [template]}, {})
    with pytest.raises(ValueError, match=message):
        grammar.write("short", {}, np.random.default_rng(0))
