"""The grammar of the captions of the stage."""

import numpy as np

from videodit.worlds.grammar import Grammar
from videodit.worlds.world import Caption, Slots

WORDS = {
    "color": {
        "red": "red|bright red|scarlet",
        "orange": "orange|bright orange",
        "yellow": "yellow|bright yellow",
        "green": "green|deep green",
        "turquoise": "turquoise|teal|cyan",
        "blue": "blue|deep blue",
        "purple": "purple|violet",
        "pink": "pink|hot pink",
    },
    "kind": {
        "ball": "ball|sphere",
        "cube": "cube|block",
        "cylinder": "cylinder",
        "cone": "cone",
        "ring": "ring|doughnut",
        "teapot": "teapot",
        "panda": "panda|panda bear",
    },
    "size": {"small": "small|little", "large": "large|big"},
    "direction": {
        "left": "left|to the left|from right to left|towards the left",
        "right": "right|to the right|from left to right|towards the right",
        "closer": "closer|towards the camera|towards the viewer",
        "away": "away|away from the camera|into the distance",
    },
    "camera.direction": {"left": "left|to the left", "right": "right|to the right"},
    "place": {
        "meadow": "on a green meadow|on a grassy meadow|in a grassy field",
        "desert": "in a sandy desert|in a desert|on a sandy plain",
        "snowfield": "in a snowy field|on a snow-covered plain|in the snow",
        "plaza": "on a checkered plaza|on a square of grey tiles|on a tiled square",
        "moon": "on the moon|on the grey surface of the moon|in a barren moonscape",
    },
    "props": {
        "trees": "trees|tall trees|scattered trees",
        "rocks": "rocks|boulders|scattered rocks",
        "columns": "columns|stone columns|old columns",
    },
    "occluder": {"wall": "wall|stone wall|grey wall", "pillar": "pillar|stone pillar|grey pillar"},
    "style": {
        "animation": "computer animation|three-dimensional animation|rendered animation",
        "picture": "computer graphics|three-dimensional graphics|rendered graphics",
    },
    "count": {"one": "one object", "two": "two objects", "three": "three objects"},
}


def _hiding(template: str) -> list[str]:
    """`template` for each verb (in place of DO) and each occluder, with its claim."""
    return [
        template.replace("DO", verb) + f"{{.event={verb} behind the {occluder}}}"
        f"{{occluder={occluder}}}"
        for occluder in WORDS["occluder"]
        for verb in ("passes", "goes")
    ]


RULES = {
    "short": [
        "{thing:a} {go:a}[ {place}][, {shot}]",
        "{bare:a} {going:a}[ {place}][, {shot}]",
        "{thing:a} {go:a} (and|while) {thing:b} {go:b}",
        "{thing:a} {go:a} {place}, {thing:b} {go:b}",
        "{bare:a} {going:a} and {bare:b} {going:b}[ {place}]",
        "{count} {place}[, {shot}]",
        "{thing:a}, {thing:b} and {thing:c}[ {place}]{!a.motion}",
        "{thing:a} and {thing:b}[ {place}]{!a.motion}",
        "{thing:a} {place}{!a.motion}",
        "{thing:a}, {thing:b} and {thing:c} {place}",
        "{passing:a}",
    ],
    "passing": _hiding("{thing} DO behind a {occluder}"),
    "long": [
        "{setting} {cast} [{backdrop} ]{filming}[ {manner}]",
        "{manner} {setting} {cast} [{backdrop} ]{filming}",
        "{setting} {backdrop} {cast} {filming}[ {manner}]",
        "{opening} {cast} {filming}[ {backdrop}][ {manner}]",
        "{opening} {cast} {backdrop} {filming}[ {manner}]",
        "{filming} {opening} {cast}[ {backdrop}][ {manner}]",
        "{opening} {manner} {cast} {filming}[ {backdrop}]",
    ],
    "medium": [
        "scene",
        "(clip|short clip|video|shot){style=animation}",
        "(picture|image|still){style=picture}",
    ],
    "setting": [
        "The {medium} (is set|plays) {place}{?camera}.",
        "(This is|We see) a {medium} set {place}[, with {count}].",
        "We are {place}.",
        "The setting of (this {medium}|what we see) is a place {place}.",
    ],
    "opening": [
        "There is one object {place}{count=one}.",
        "We see {count} {place}.",
        "(The|This) {medium} shows {count} {place}.",
        "(This is|Here is|We see) a {medium} of {count} {place}.",
        "{count} can be seen {place}.",
        "{count} {place}: that is what (the|this) {medium} shows.",
    ],
    "cast": [
        "{first:a}{!b.kind}",
        "{first:a} {second:b}{!c.kind}",
        "{first:a} {second:b} {third:c}",
        "{pair}{!c.kind}",
        "{pair} {third:c}",
    ],
    "pair": [
        "{both}[ {pair_hides:a}|{pair_hides:b}]",
        "{thing:a} and {thing:b} (are in view|can be seen){!a.motion}{!b.motion}.",
    ],
    "both": [
        "{thing:a} {go:a}, (and|while) {thing:b} {go:b}.",
        "{thing:a} {go:a}; {right:b}{thing:b} {go:b}.",
        "On the left there is {thing:a}, and to its right {thing:b}{b.side=right of a}. "
        "{the:a} {go:a}, (and|while|whereas) {the:b} {go:b}.",
        "There are {thing:a} and {thing:b}. {the:a} {go:a}(, and| while) {the:b} {go:b}.",
    ],
    "first": [
        "{thing} {go}.[ {hides}]",
        "There is {thing} (that|which) {go}.[ {hides}]",
        "There is {thing}. It {go}.[ {hides}]",
        "(We see|One sees) {thing}; it {go}.[ {hides}]",
        "(Here|In this scene|First of all), {thing} {go}.[ {hides}]",
        "(The viewer sees|We watch) {thing} that {go}.[ {hides}]",
        "{thing} (is in view|can be seen|is there|is visible){!.motion}.",
        "(There is|We see|One sees) {thing}{!.motion}.",
    ],
    "second": [
        "{right:b}{thing:b} {go:b}.[ {hides:b}]",
        "(Meanwhile|At the same time), {thing:b} {go:b}.[ {hides:b}]",
        "There is also {thing:b}, (which|and it) {go:b}.[ {hides:b}]",
        "{right:b}there is {thing:b} that {go:b}.[ {hides:b}]",
        "{thing:b} {go:b}.[ {hides:b}]",
        "(Next to|Beside) it, {thing:b} (is in view|can be seen|is visible){!b.motion}.",
        "{thing:b} (is in view|can be seen|is visible) too{!b.motion}.",
        "There is also {thing:b}{!b.motion}.",
    ],
    "right": [
        "to its right, {b.side=right of a}",
        "to the right of {the:a}, {b.side=right of a}",
        "next to {the:a}, ",
    ],
    "third": [
        "(Farther right|Farther to the right), {thing:c} {go:c}{c.side=right of b}.",
        "(The third object is|Last, there is|Finally, there is) {thing:c} that {go:c}.",
        "{thing:c} {go:c}.",
        "A third object, {thing:c}, {go:c}.[ {hides:c}]",
        "{thing:c} (is in view|can be seen|is visible) as well{!c.motion}.",
    ],
    "thing": ["a [{.size}] {.color} {.kind}"],
    "bare": ["[{.size}] {.color} {.kind}"],
    "the": ["the {.color} {.kind}"],
    "go": [
        "(rolls|is rolling) {.direction}{.motion=slide}{.kind=ball}",
        "(slides|glides|moves|is sliding) {.direction}{.motion=slide}",
        "(walks|strolls|is walking|ambles) {.direction}{.motion=walk}",
        "(bounces|is bouncing|keeps bouncing)[ (up and down|on the spot)]{.motion=bounce}",
        "(goes|moves|travels|is going) (in a circle|round in a circle){.motion=circle}",
        "(rises|floats up|is rising|floats upwards)[ (into the air|from the ground)]{.motion=rise}",
        "(sinks|comes down|floats down|is sinking)[ (through the air|towards the ground)]"
        "{.motion=sink}",
        "(stays still|does not move|stays where it is|stands still|rests on the ground)"
        "{.motion=still}",
    ],
    "going": [
        "rolling {.direction}{.motion=slide}{.kind=ball}",
        "(sliding|gliding|moving) {.direction}{.motion=slide}",
        "walking {.direction}{.motion=walk}",
        "bouncing[ up and down]{.motion=bounce}",
        "(going|moving) in a circle{.motion=circle}",
        "(rising|floating up)[ into the air]{.motion=rise}",
        "(sinking|floating down){.motion=sink}",
        "(standing|sitting) still{.motion=still}",
    ],
    "backdrop": [
        "{props} stand in the (distance|background).",
        "In the (distance|background) (there are|one can see|stand) {props}.",
        "(Behind|Around) the scene there are {props}.",
        "The (background|backdrop) is filled with {props}.",
    ],
    "hides": [
        *_hiding("On its way, it DO behind a {occluder}."),
        *_hiding("There is a {occluder}, and it DO behind it."),
        *_hiding("A {occluder} stands in the way, and it DO behind it."),
        *_hiding("(As it moves|Along the way), it DO behind a {occluder}."),
    ],
    "pair_hides": [
        *_hiding("On its way, {the} DO behind a {occluder}."),
        *_hiding("A {occluder} stands in the way of {the}, which DO behind it."),
    ],
    "filming": [
        "{!camera}",
        "The camera {filmed}.",
        "(All the while|Throughout|During the shot), the camera {filmed}.",
        "(Filmed|Shot|Seen) (from a fixed camera|with a fixed camera){camera=still}.",
        "It is (a static shot|a fixed shot){camera=still}.",
    ],
    "filmed": [
        "(stays still|does not move|is fixed|holds still){camera=still}",
        "(orbits|circles|swings around) the scene {camera.direction}{camera=orbit}",
        "(pans|turns|is panning) {camera.direction}{camera=pan}",
        "(moves|pushes|dollies|glides) (in|forward){camera=dolly}{camera.direction=in}",
        "((moves|pulls|dollies) (out|back)|backs away){camera=dolly}{camera.direction=out}",
    ],
    "shot": [
        "(static|fixed) camera{camera=still}",
        "camera (orbits|orbiting) {camera.direction}{camera=orbit}",
        "camera (pans|panning) {camera.direction}{camera=pan}",
        "(camera moves|dolly|camera pushes) in{camera=dolly}{camera.direction=in}",
        "(camera pulls|dolly|camera moves) out{camera=dolly}{camera.direction=out}",
    ],
    "manner": ["{look} {style}."],
    "look": ["(This is|It is|The style is|The look is that of|What we see is)"],
}
GRAMMAR = Grammar(RULES, WORDS)


def write(rule: str, slots: Slots, rng: np.random.Generator) -> Caption:
    """A "short" or "long" caption that is true of the slots."""
    return GRAMMAR.write(rule, slots, rng)


def read(text: str) -> Slots:
    """What a caption claims. Raises ValueError that names the words it cannot read."""
    return GRAMMAR.read(("short", "long"), text)
