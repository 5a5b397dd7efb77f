"""The grammar of the captions of the maze."""

import numpy as np

from videodit.worlds.grammar import Grammar
from videodit.worlds.grids import chain
from videodit.worlds.world import Caption, Slots

COUNTS = ("zero", "one", "two", "three")

GRAMMAR = Grammar(
    rules={
        "short": [
            "{?e1.verb}{goes:e1}, {seen:t1}",
            "{?e1.verb}(first person|pov): {goes:e1}({!e2.verb}|{?e2.verb}, then {goes_on:e2})",
            "{?e1.verb}{goes:e1} in a (room|hall) with {walls}",
            "{!e1.verb}{listing} in a (room|hall)",
            "{!e1.verb}a (room|hall) with {walls} and {floor}",
            "{thing:t1} in a (room|hall) with {walls}",
        ],
        "goes": ["(someone|the player) ({do}|opens (the|a) door{.verb=open})", "the camera {do}"],
        "goes_on": ["{do}", "{door}"],
        "door": ["(the|a) door (opens|is opened|goes up){.verb=open}"],
        "seen": ["a {.color} {.kind} (ahead|in view)", "a {.color} {.kind} {.place}"],
        "long": [
            "{scene} {things} {story} {lost} [{end}]",
            "{style} {scene} {things} {story} {lost}",
            "{style} {surfaces} {things} {story} {lost}",
            "{surfaces} {style} {things} {story} {lost}",
            "{things} {surfaces} {story} {lost} {end}",
            "{scene} {style} {things} {story} {lost} [{end}]",
        ],
        "style": [
            "(this is|here is) a {look} in (the first person|a first-person view).",
            "the {film} is a {look}, seen (through the player's eyes|in the first person).",
            "(we look|one looks) through the eyes of a player in a {look}.",
        ],
        "film": ["{?e1.verb}clip", "{!e1.verb}picture", "scene"],
        "look": [
            "(retro|pixelated|blocky|dark) (shooter|maze game|dungeon game|computer game)",
            "(computer game|maze game) (from the nineties|in coarse pixels|of the old school)",
        ],
        "scene": [
            "a (hall|room|chamber) with {walls} and {floor} (opens|lies) (ahead|before us).",
            "the camera (is|stands) in a (hall|room|chamber) with {walls}. the floor is {ground}.",
            "(inside|in) a (hall|room|chamber) with {walls}, one stands on {floor}.",
            "the (hall|room|chamber) has {walls} and {floor}.",
        ],
        "surfaces": [
            "(all around|on all sides) are {walls}, and the floor is {ground}.",
            "{walls} enclose {floor}.",
            "the floor is {ground}, and {walls} rise (around it|on every side).",
        ],
        "things": [
            "{count} (can be seen|are in view)[{?e1.verb} at first]: {listing}.",
            "{listing} can be (seen|made out)[ there].",
            "one (sees|can make out) {listing}.",
            "in the hall (one sees|we see) {listing}.",
        ],
        "count": [
            "(two|a pair of) (things|objects){things=two}",
            "three (things|objects){things=three}",
        ],
        "listing": [
            "{thing:t1}{!t2.color}",
            "{thing:t1} and {thing:t2}{!t3.color}",
            "{thing:t1}, {thing:t2} and {thing:t3}",
        ],
        "thing": ["a {.color} {.kind}", "a {.color} {.kind} {.place}"],
        "story": [
            "{!e1.verb}(nothing moves in this still picture|this is a still frame).",
            "{?e1.verb}" + chain("opening", "then"),
        ],
        "opening": ["{start}the camera {do}.", "{start}{door}."],
        "start": ["", "{?e2.verb}(first|to begin with), "],
        "then": [
            "(then|next|after that|afterwards|a moment later) it {do}.",
            "(then|next|after that|afterwards|a moment later), the camera {do}.",
            "it (then|next) {do}.",
            "(then|next|after that|afterwards|a moment later|soon after), {door}.",
            "(this done|with that done|soon after), it {do}.",
        ],
        "do": [
            "(walks|moves|goes) (ahead|forward|straight on){.verb=walk}",
            "(backs off|moves back|steps backwards){.verb=back off}",
            "(turns|looks) {.side}{.verb=turn}",
            "(stands still|does not move|stays where it is){.verb=stand}",
        ],
        "lost": [
            "{!lost.kind}",
            "the {lost.color} {lost.kind} (leaves the view|goes out of sight) and (comes back|is "
            "there again) (later|afterwards){lost.back=yes}.",
            "(out of sight for a while|hidden for some time), the {lost.color} {lost.kind} is "
            "(still there|in its place) (in the end|when the view returns){lost.back=yes}.",
            "the {lost.color} {lost.kind} (leaves the view|goes out of sight) and (does not come "
            "back|is not seen again){lost.back=no}.",
        ],
        "end": [
            "the (ceiling|roof) is of grey (slabs|tiles).",
            "no one else is (there|in sight|to be seen).",
            "the (light|lighting) is (even and dim|dim|low).",
        ],
        "ground": [
            "(of grey stone|paved with stone){floor=stone}",
            "(grass|covered with grass){floor=grass}",
            "(of wood|of wooden parquet){floor=wood}",
            "(bare earth|brown earth){floor=earth}",
            "(glowing lava|molten lava){floor=lava}",
            "(blue water|covered with blue water){floor=water}",
            "(green slime|covered with green slime){floor=slime}",
        ],
    },
    words={
        "walls": {
            "brick": "brick walls|walls of brown brick|brown brick walls",
            "stone": "stone walls|walls of dark stone|dark stone walls",
            "concrete": "concrete walls|walls of pale concrete|pale concrete walls",
            "wood": "wooden walls|walls of dark wood|dark wooden walls",
            "marble": "marble walls|walls of green marble|green marble walls",
            "red": "red walls|bright red walls",
            "blue": "blue walls|dark blue walls",
        },
        "floor": {
            "stone": "a stone floor|a floor of grey stone",
            "grass": "a floor of grass|a grassy floor",
            "wood": "a wooden floor|a parquet floor",
            "earth": "a floor of earth|an earthen floor",
            "lava": "a floor of lava|a lake of lava",
            "water": "a floor of water|a pool of blue water",
            "slime": "a floor of slime|a pool of green slime",
        },
        "color": {name: name for name in ("red", "green", "blue", "brown")} | {"grey": "grey|gray"},
        "kind": {
            "torch": "torch|standing torch",
            "pillar": "pillar|column",
            "tree": "tree",
            "lamp": "lamp|floor lamp",
            "barrel": "barrel",
        },
        "place": {
            "left": "on the left|to the left",
            "middle": "in the middle|straight ahead",
            "right": "on the right|to the right",
        },
        "side": {"left": "left|to the left", "right": "right|to the right"},
    },
)


def write(rule: str, slots: Slots, rng: np.random.Generator) -> Caption:
    """A "short" or "long" caption that is true of the slots."""
    return GRAMMAR.write(rule, slots, rng)


def read(text: str) -> Slots:
    """What a caption claims. Raises ValueError that names the words it cannot read."""
    return GRAMMAR.read(("short", "long"), text)
