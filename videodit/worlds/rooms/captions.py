"""The grammar of the captions of rooms."""

import re

import numpy as np

from videodit.worlds.grammar import Grammar
from videodit.worlds.grids import HEADINGS, chain
from videodit.worlds.world import Caption, Slots

# How captions call the agent. The grammar calls it "hero".
HEROES = ("hero", "red triangle", "red arrow", "red pointer")


def _list(rule: str, name: str, most: int) -> list[str]:
    """Templates that list all things there are, at most `most`: `name`1, `name`2, ..."""
    lists = []
    for count in range(1, most + 1):
        items = [f"{{{rule}:{name}{k}}}" for k in range(1, count + 1)]
        joined = " and ".join([", ".join(items[:-1]), items[-1]] if count > 1 else items)
        lists.append(f"{{!{name}{count + 1}.color}}{joined}")
    return lists


GRAMMAR = Grammar(
    rules={
        "short": [
            "{?e1.verb}hero {do:e1}({!e2.verb}|{?e2.verb}, then {do:e2})",
            "{?e1.verb}a hero {do:e1}",
            "{?m1.goal}(hero:|babyai:|gridworld:) {mission}",
            "{!e1.verb}a hero {agent.place}, facing {agent.facing}",
            "{!e1.verb}{things}",
            "a hero and {listing}{?o1.color}",
        ],
        "long": [
            "{scene} {objects} {doors} {task} {story} {end}",
            "{style} {scene} {objects} {story} {end}",
            "{scene} {agent} {objects} {task} {story}",
            "{objects} {agent} {doors} {story} {end} {style}",
            "{style} {objects} {scene} {agent} {story}",
            "{task} {scene} {agent} {objects} {story} {end}",
            "{scene} {doors} {objects} {agent} {task} {story} {end}",
        ],
        "style": [
            "(this is|here is) a {look} seen from {above}.",
            "the {film} is a {look}, (shown|drawn) from {above}.",
            "from {above}, a {look} is (shown|seen).",
        ],
        "film": ["{?e1.verb}clip", "{!e1.verb}picture", "scene"],
        "look": [
            "(simple|plain|flat) (grid world|puzzle of tiles|maze game)",
            "world of square tiles",
        ],
        "above": ["(above|straight above|overhead)"],
        "scene": [
            "the {film} shows {place} with a hero inside.",
            "{place}[ with grey walls] can be seen, with a hero inside.",
            "grey walls (enclose|surround) {place} with a hero inside.",
            "(here|this) is {place} with a hero inside{rooms=one}.",
            "a hero is in {place}{rooms=one}.",
        ],
        "place": [
            "a (black|dark) room{rooms=one}",
            "(two|a pair of) (black|dark) rooms{rooms=two}",
            "(three|a row of three) (black|dark) rooms{rooms=three}",
        ],
        "agent": [
            "{?e1.verb}(at first|at the start|to begin with), the hero (is|stands) {agent.place} "
            "and (faces|looks) {agent.facing}.",
            "the hero, {agent.place}, (faces|looks|points) {agent.facing}.",
            "the hero (faces|points) {agent.facing} and is {agent.place}.",
        ],
        "objects": [
            "{things=zero}there is nothing (to pick up|on the floor).",
            "on the (floor|tiles) one can see {listing}.",
            "{listing} can be seen.",
            "one can (see|make out) {listing}.",
            "{count} (can be seen|are shown): {listing}.",
            "{count} (lie|rest) on the floor, (namely|which are) {listing}.",
        ],
        "count": [
            "(two things|two objects){things=two}",
            "(three things|three objects){things=three}",
            "(four things|four objects){things=four}",
            "(five things|five objects){things=five}",
        ],
        "things": ["{?o1.color}{listing}", "{things=zero}an empty room"],
        "listing": _list("thing", "o", 5),
        "thing": ["a {.color} {.kind}", "a {.color} {.kind} {.place}"],
        "doors": [
            "{!d1.color}(no door leads out|there is no door){rooms=one}.",
            "{!d2.color}{door:d1} (joins|lies between|connects) the rooms.",
            "{door:d1} and {door:d2} (join|lie between|connect) the rooms.",
        ],
        "door": ["a {.state} {.color} door", "a {.color} door that is {.state}"],
        "task": [
            "{!m1.goal}(it|this) is a still picture.",
            "the (task|mission|job) is to {mission}.",
            "(what has to be done is|the order was) to {mission}.",
            "the hero (has|is told|wants) to {mission}.",
        ],
        "mission": [
            "{!m2.goal}{goal:m1}",
            "{goal:m1}(, then|, and after that|, and then) {goal:m2}",
        ],
        "goal": [
            "(go to|reach|walk up to) the {.color} {.kind}{.goal=go}",
            "(pick up|take|get|fetch) the {.color} {.kind}{.goal=take}",
            "open the {.color} {.kind}{.goal=open}",
            "(put|place|set) the {.color} {.kind} (next to|beside) the {.by.color} {.by.kind}"
            "{.goal=put}",
        ],
        "story": [
            "{!e1.verb}(nothing moves here|all is still).",
            "{?e1.verb}" + chain("opening", "then"),
        ],
        "opening": [
            "the hero {do}.",
            "{?e2.verb}(first|at the beginning), (it|the hero) {do}.",
            "(now|here) the hero {do}.",
        ],
        "then": [
            "(then|next|after that|afterwards|a moment later) (it|the hero) {do}.",
            "(it|the hero) (then|next) {do}.",
            "(this done|with that done|soon after), (it|the hero) {do}.",
        ],
        "do": [
            "(moves|goes|heads|drives) {.motion}{.verb=walk}",
            "(picks up|takes|collects) the {.color} {.kind}{.verb=take}",
            "(puts down|drops|sets down) the {.color} {.kind}{.verb=drop}",
            "opens the {.color} {.kind}{.verb=open}",
            "(closes|shuts) the {.color} {.kind}{.verb=close}",
            "(turns on the spot|only turns){.verb=turn}",
            "(stands still|does not move|stays in its place){.verb=stand}",
        ],
        "end": [
            "{!e1.verb}the floor is black.",
            "(in the end|at last|when the clip ends), (it|the hero) (faces|looks at) the "
            "{f.color} {f.kind}.",
            "(the hero ends up|in the end, the hero is) in front of the {f.color} {f.kind}.",
            "(with this|so|at last) the (task|mission) is (done|solved|complete){solved=yes}.",
            "the (task|mission) is not (done|solved|complete) when the clip ends{solved=no}.",
        ],
    },
    words={
        "color": {name: name for name in ("red", "green", "blue", "purple", "yellow")}
        | {"grey": "grey|gray"},
        "kind": {"ball": "ball", "box": "box", "key": "key", "door": "door"},
        "state": {"open": "open", "closed": "closed|shut"},
        "facing": {
            "left": "left|to the left",
            "right": "right|to the right",
            "up": "up|upwards",
            "down": "down|downwards",
        },
        "place": {
            "middle": "in the middle|in the centre",
            "top": "at the top|near the top",
            "bottom": "at the bottom|near the bottom",
            "left": "on the left|at the left",
            "right": "on the right|at the right",
            "top left": "at the top left|in the upper left",
            "top right": "at the top right|in the upper right",
            "bottom left": "at the bottom left|in the lower left",
            "bottom right": "at the bottom right|in the lower right",
        },
        "motion": HEADINGS,
    },
)


def write(rule: str, slots: Slots, rng: np.random.Generator) -> Caption:
    """A "short" or "long" caption that is true of the slots; the agent has one name in it."""
    caption, name = GRAMMAR.write(rule, slots, rng), str(rng.choice(HEROES[1:]))
    return caption._replace(text=caption.text.replace("hero", name))


def read(text: str) -> Slots:
    """What a caption claims. Raises ValueError that names the words it cannot read."""
    return GRAMMAR.read(("short", "long"), re.sub("|".join(HEROES), "hero", text))
