"""The grammar of the captions of survival."""

import re

import numpy as np

from videodit.worlds.grammar import Grammar
from videodit.worlds.grids import HEADINGS, NUMBERS, TIMES, chain
from videodit.worlds.world import Caption, Slots

# What is counted in the first picture: (singular, plural).
THINGS = {
    "tree": ("tree", "trees"),
    "water": ("tile of water", "tiles of water"),
    "stone": ("block of stone", "blocks of stone"),
    "coal": ("lump of coal", "lumps of coal"),
    "iron": ("vein of iron", "veins of iron"),
    "lava": ("tile of lava", "tiles of lava"),
    "cow": ("cow", "cows"),
    "zombie": ("zombie", "zombies"),
    "skeleton": ("skeleton", "skeletons"),
}
HELD = ("wood", "stone", "sapling")
# How captions call the player. The grammar calls it "hero".
PERSONS, FIGURES = ("hero", "player", "survivor", "settler"), ("little figure", "small character")
HEROES = PERSONS + FIGURES


def _amounts(singular: str, plural: str) -> dict[str, str]:
    """The phrases of rough counts."""
    return {
        "one": f"a {singular}|one {singular}|a single {singular}",
        "two": f"two {plural}|a pair of {plural}",
        "few": f"a few {plural}|some {plural}|several {plural}",
        "many": f"many {plural}|lots of {plural}|a great number of {plural}",
    }


def _items(singular: str, plural: str) -> dict[str, str]:
    """The phrases of exact counts, one to nine."""
    return {"one": f"one {singular}", **{n: f"{n} {plural}" for n in NUMBERS[2:]}}


# Templates that name one thing around, or two, or say that there is nothing.
_THING = [f"{{near.{kind}}}" for kind in THINGS]
_PAIRS = [
    f"{{near.{one}}} and {{near.{other}}}" for one in THINGS for other in THINGS if one != other
]
_NOTHING = "".join(f"{{!near.{kind}}}" for kind in THINGS)

GRAMMAR = Grammar(
    rules={
        "short": [
            "a hero {do:e1}[ {time}]",
            "hero {do:e1}({!e2.verb}|{?e2.verb}, then {do:e2})[, {time}]",
            "(crafter|survival game): a hero {do:e1}[ {time}]",
            "a hero {do:e1}, {thing} (near by|in view)",
            "{!e1.verb}a hero on {ground}[ {time}]",
            "{!e1.verb}a hero (near|not far from) {thing}, {time}",
        ],
        "long": [
            "{scene} [{around} ]{story} {end}",
            "{style} {scene} {story} {around} {end}",
            "{style} {around} {stands} {light} {story}",
            "{stands} {light} {around} {story} [{end} ]{style}",
            "{scene} {style} {story} {end}",
            "{light} {stands} {around} {story} {end}",
        ],
        "style": [
            "(this is|here is) a {look} seen {above}.",
            "the {film} is a {look}, shown {above}.",
            "{above}, a {look} is (shown|seen).",
        ],
        "film": ["{?e1.verb}clip", "{!e1.verb}picture", "scene"],
        "look": [
            "(retro|blocky|tile-based|pixelated) (survival game|adventure game|game world)",
            "(two-dimensional|flat|small) world (of tiles|of square tiles|in pixel art)",
            "survival game (in pixel art|drawn in tiles|made of square tiles)",
        ],
        "above": ["from (above|straight above|overhead)", "in a top-down view"],
        "scene": [
            "a hero (stands|is) on {ground} {time}.",
            "{time}, a hero (stands|is) on {ground}.",
            "seen {above}, a hero (stands|is) on {ground} {time}.",
            "the {film} shows a hero on {ground} {time}.",
            "{?e1.verb}the (clip|video) (begins|starts) with a hero on {ground} {time}.",
            "in a {look}, a hero (stands|is) on {ground} {time}.",
        ],
        "stands": [
            "a hero (stands|is|can be seen) on {ground}.",
            "in the middle of the (picture|view), a hero (stands|is) on {ground}.",
        ],
        "light": [
            "it is {hour}.",
            "the light is that of {hour}.",
            "the scene takes place {time}.",
        ],
        "hour": [
            "(day|daytime|broad daylight){time=day}",
            "(dusk|evening|twilight){time=dusk}",
            "(night|night-time|deep night){time=night}",
        ],
        "around": [
            "{?e1.verb}at (first|the start) {things} can be (seen|made out).",
            "{?e1.verb}the (view|clip) (begins|starts|opens) with {things} (around|in sight).",
            "{!e1.verb}{things} can be (seen|made out) (around|near by|in the picture).",
            "{?e1.verb}{things} can be (seen|made out) in the first frame.",
            f"{_NOTHING}(nothing stands out in the open land|the land around is open).",
        ],
        "things": [*_THING, *_PAIRS],
        "thing": _THING,
        "story": ["{!e1.verb}{photo}", "{?e1.verb}" + chain("opening", "then")],
        "photo": [
            "it is a (single|still) (picture|frame|image).",
            "nothing moves in this (still|picture|image).",
        ],
        "opening": [
            "the hero {do}.",
            "{?e2.verb}(first|to begin with), {it} {do}.",
            "(now|here) the hero {do}.",
        ],
        "then": [
            "(then|next|after that|afterwards|a moment later) {it} {do}.",
            "{it} (then|next) {do}.",
            "(this done|with that done|soon after), {it} {do}.",
        ],
        "it": ["the hero", "{?hero.thing}it"],
        "do": [
            "(walks|moves|goes|heads) {.motion}{.verb=walk}",
            "{.verb}({!.times}|{.times})",
        ],
        "end": [
            "{?e1.verb}(in the end|at last), the hero (holds|has|carries) {items}.",
            "{!e1.verb}the hero (holds|has|carries) {items}.",
            "the inventory (below|at the bottom) (shows|counts|lists) {items}"
            "({?e1.verb} at the end|{!e1.verb}).",
            "{?e1.verb}the camera (follows|stays with|stays above|keeps above) the hero.",
            "{?e1.verb}the hero (stays|remains) in the middle of the (view|picture).",
            "{!e1.verb}the hero is in the middle of the (view|picture).",
        ],
        "items": [
            *(f"{{holds.{one}}}" for one in HELD),
            *(f"{{holds.{a}}} and {{holds.{b}}}" for a in HELD for b in HELD if a != b),
        ],
    },
    words={
        "time": {
            "day": "by day|in daylight|in bright daylight|during the day",
            "dusk": "at dusk|in the evening|at twilight|in the half-light of evening",
            "night": "at night|in the dark of night|by night|during the night",
        },
        "ground": {
            "grass": "grass|green grass|a meadow|the grass",
            "sand": "sand|a patch of sand|yellow sand|the sand",
            "path": "a path|bare ground|a dirt path|the bare ground",
        },
        "verb": {
            # Crafter's trees stay when wood is taken from them.
            "chop": "chops wood|chops wood from a tree|takes wood from a tree|hacks at a tree",
            "mine stone": "mines a block of stone|digs out a stone|breaks a stone block",
            "mine coal": "mines coal|digs out some coal|breaks a block of coal",
            "mine iron": "mines iron|digs out some iron",
            "drink": "drinks water|takes a drink of water|has a drink",
            "eat cow": "catches and eats a cow|kills and eats a cow|eats a cow",
            "place stone": "places a stone|puts down a block of stone|lays a stone",
            "place table": "builds a table|puts up a workbench|places a table",
            "plant": "plants a sapling|puts a sapling in the ground",
            "make pickaxe": "makes a wooden pickaxe|crafts a pickaxe of wood",
            "make sword": "makes a wooden sword|crafts a sword of wood",
            "sleep": "falls asleep|lies down and sleeps|goes to sleep",
            "stand": "stands still|stays where it is|does not move",
        },
        "motion": HEADINGS,
        "times": TIMES,
        **{f"near.{kind}": _amounts(*forms) for kind, forms in THINGS.items()},
        "holds.wood": _items("piece of wood", "pieces of wood"),
        "holds.stone": _items("stone", "stones"),
        "holds.sapling": _items("sapling", "saplings"),
    },
)


def write(rule: str, slots: Slots, rng: np.random.Generator) -> Caption:
    """A "short" or "long" caption that is true of the slots; the player has one name in it."""
    name = str(rng.choice(HEROES))
    if name in FIGURES:  # only a figure is called "it"
        slots = slots | {"hero.thing": name}
    caption = GRAMMAR.write(rule, slots, rng)
    return caption._replace(text=caption.text.replace("hero", name))


def read(text: str) -> Slots:
    """What a caption claims. Raises ValueError that names the words it cannot read."""
    return GRAMMAR.read(("short", "long"), re.sub("|".join(HEROES), "hero", text))
