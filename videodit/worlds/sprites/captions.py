"""The grammar of the captions of sprites. facts.py lists the slots."""

from collections.abc import Iterable

import numpy as np

from videodit.worlds.grammar import Grammar
from videodit.worlds.sprites.drawing import BACKGROUNDS, COLORS, OUTLINES
from videodit.worlds.world import Caption, Slots

EDGES = ("left", "right", "top", "bottom")


def write(rule: str, slots: Slots, rng: np.random.Generator) -> Caption:
    """A "short" or "long" caption that is true of the slots."""
    return GRAMMAR.write(rule, slots, rng)


def read(text: str) -> Slots:
    """What a caption claims. Raises ValueError that names the words it cannot read."""
    return GRAMMAR.read(("short", "long"), text)


def _same(values: Iterable[str]) -> dict[str, str]:
    """Words for values that are words themselves."""
    return {value: value for value in values}


WORDS = {
    "color": _same((*COLORS, *BACKGROUNDS)),
    "kind": _same(OUTLINES),
    "size": {"small": "small|little", "medium": "medium-sized|mid-sized", "large": "large|big"},
    "count": _same(("two", "three")),
    "motion": {
        "left": "left|to the left|leftward|toward the left",
        "right": "right|to the right|rightward|toward the right",
        "up": "up|upward|straight up|toward the top",
        "down": "down|downward|straight down|toward the bottom",
        "up-left": "up and to the left|diagonally up and left|toward the upper left",
        "up-right": "up and to the right|diagonally up and right|toward the upper right",
        "down-left": "down and to the left|diagonally down and left|toward the lower left",
        "down-right": "down and to the right|diagonally down and right|toward the lower right",
        "clockwise": "clockwise in a circle|in a clockwise circle|around in a clockwise loop",
        "counterclockwise": "counterclockwise in a circle|in a counterclockwise circle"
        "|around in a counterclockwise loop",
    },
    "speed": {
        "slow": "slowly|gently|at a slow pace",
        "medium": "steadily|at a moderate pace|at a medium speed",
        "fast": "quickly|swiftly|at high speed",
    },
    "at": {
        "left": "on the left|on the left side|at the left",
        "right": "on the right|on the right side|at the right",
        "top": "at the top|in the upper part of the picture",
        "bottom": "at the bottom|in the lower part of the picture",
        "center": "in the center|in the middle|in the middle of the picture",
        "top left": "in the top left|in the upper left corner|at the upper left",
        "top right": "in the top right|in the upper right corner|at the upper right",
        "bottom left": "in the bottom left|in the lower left corner|at the lower left",
        "bottom right": "in the bottom right|in the lower right corner|at the lower right",
    },
    "way": {
        "right": "from left to right",
        "left": "from right to left",
        "down": "from top to bottom|downward",
        "up": "from bottom to top|upward",
    },
    "line": _same(("horizontal", "vertical")),
}
WORDS["then"] = WORDS["motion"]
WORDS["background"] = WORDS["color"]

# What a shape does in a clip with an event: templates for each edge and for each other shape.
BOUNCE = [
    text
    for edge in EDGES
    for text in (
        f"{{move}} {{.motion}}, bounces off the {edge} edge{{.event=bounces off the {edge} edge}}"
        " and (then|) (moves|heads|continues|goes) {.then}",
        f"{{move}} {{.motion}} until it (hits|reaches|touches) the {edge} edge"
        f"{{.event=bounces off the {edge} edge}}, then (bounces off|rebounds|bounces back)"
        " and (moves|heads|goes) {.then}",
    )
]
AWAY = "(leaves the picture|goes out of view|disappears|exits) at the"
LEAVE = [
    f"{{move}} {{.motion}} (and|until it) {AWAY} {edge} [edge]{{.event=leaves at the {edge}}}"
    for edge in EDGES
]
RETURN = [
    f"{{move}} {{.motion}}, {AWAY} {edge} [edge]{{.event=leaves at the {edge} and comes back}}"
    "(, then| and after a moment| and later) (comes back|returns)[, (moving|heading) {.then}]"
    for edge in EDGES
]
ENTER = [
    "(enters the picture|enters|comes into view|appears) from the"
    f" {edge} [edge]{{.event=enters from the {edge}}}"
    "(, moving| and moves|, then moves) [{.speed}] {.motion}"
    for edge in EDGES
]
MEET = [
    f"{{move}} {{.motion}} and passes {how} {{the:{other}}}{{.event=passes {how} {other}}}"
    for other in "ab"
    for how in ("behind", "in front of")
] + [
    f"{{move}} {{.motion}}, collides with {{the:{other}}}{{.event=collides with {other}}}"
    " and (bounces|moves) back {.then}"
    for other in "ab"
]
COLLIDE = "{a.event=collides with b}{b.event=collides with a}"


def _typed(
    goes: str, rolls: str, rests: str, bounces: str, leaves: str, enters: str, comes: str
) -> list[str]:
    """Templates that say in few words what a shape does, from verbs in one form."""
    return [
        f"({goes}) [{{.speed}}] {{.motion}}{{!.event}}",
        f"{rolls}{{.kind=circle}} [{{.speed}}] {{.motion}}{{!.event}}",
        f"({rests}){{.motion=still}}[ {{.at}}]",
    ] + [
        text
        for edge in EDGES
        for text in (
            f"{bounces} off the {edge} edge{{.event=bounces off the {edge} edge}}",
            f"{leaves} at the {edge}{{.event=leaves at the {edge}}}",
            f"{leaves} at the {edge} and {comes} back"
            f"{{.event=leaves at the {edge} and comes back}}",
            f"({enters}) from the {edge}{{.event=enters from the {edge}}}",
        )
    ]


RULES = {
    "short": [
        "{seen:a}[ on {ground}][, still image{style=picture}]",
        "{seen:a} (and|with|next to) {seen:b}[ on {ground}]",
        "{typed:a} {typed_does:a}[ on {ground}]",
        "{typed:a} {typed_doing:a}[ on {ground}]",
        "{typed:a} {typed_does:a} (and|while) {typed:b} {typed_does:b}[ on {ground}]",
        "{typed:a} {typed_doing:a} (and|with) {typed:b} {typed_doing:b}[ on {ground}]",
        "{typed:a} (passes|passing|moves|moving) (behind {typed:b}{a.event=passes behind b}"
        "|in front of {typed:b}{a.event=passes in front of b})[ on {ground}]",
        "{typed:a} with {typed:b} passing (behind it{b.event=passes behind a}"
        "|in front of it{b.event=passes in front of a})[ on {ground}]",
        "{typed:a} and {typed:b} (collide|colliding|bounce off each other|bump into each other)"
        + COLLIDE
        + "[ on {ground}]",
        "{typed:a} (collides with|bumps into|hits) {typed:b}" + COLLIDE + "[ on {ground}]",
        "(a brush paints|painting) a {stroke1.color} (line|stroke)[ {stroke1.way}]{?stroke1.way}",
    ],
    "seen": ["a [{.size}] {.color} {.kind}[ {.at}]{style=picture}"],
    "typed": ["a [{.size}] {.color} {.kind}"],
    "typed_does": _typed(
        goes="moves|slides|goes|glides",
        rolls="rolls",
        rests="stays still|does not move|stands still",
        bounces="bounces",
        leaves="leaves",
        enters="enters|comes in",
        comes="comes",
    ),
    "typed_doing": _typed(
        goes="moving|sliding|going|gliding",
        rolls="rolling",
        rests="staying still|not moving|standing still",
        bounces="bouncing",
        leaves="leaving",
        enters="entering|coming in",
        comes="coming",
    ),
    "ground": [
        "{background.color}",
        "a {background.color} background",
        "{background.top} above {background.bottom}",
        "a background with {background.left} on the left and {background.right} on the right",
    ],
    "long": [
        "{film} {cast} {over} {backdrop}. {acts}{painting} {end}",
        "{film} {cast}. {acts}{painting} {setting} {end}",
        "{on} {backdrop}, there is {new:a}{!b.color}{!c.color}. {acts}{painting} {end}",
        "{on} {backdrop}, (we see|one sees|one can see) {cast}. {acts}{painting} {end}",
        "{setting} {film} {cast}. {acts}{painting} {end}",
        "{count} (shapes|figures|flat shapes) (are shown|appear|can be seen|share the picture)"
        " {over} {backdrop}: {cast}. {acts}{painting} {end}",
        "{setting} there is {new:a}{!b.color}{!c.color}. {acts}{painting} {end}",
    ],
    "film": [
        "(this|the) (clip|video|animation|short film) (shows|presents|features|contains)"
        "{style=animation}",
        "(this|the) (picture|image|drawing) (shows|presents|features|contains){style=picture}",
    ],
    "cast": [
        "{new:a}{!b.color}{!c.color}",
        "{new:a} (and|together with|as well as) {new:b}{!c.color}",
        "{new:a}, {new:b} and {new:c}",
    ],
    "new": ["a [{.size}] {.color} {.kind}"],
    "the": ["the {.color} {.kind}", "the {.color} {.kind}", "the {.color} (one|shape){?b.kind}"],
    "over": ["on", "against", "in front of", "over"],
    "on": ["on", "against", "over", "in front of"],
    "backdrop": [
        "a (plain|uniform|solid|) {background.color} (background|backdrop)",
        "a (background|backdrop) that is {background.top} above and {background.bottom} below",
        "a (background|backdrop) that is {background.top} at the top and {background.bottom} at"
        " the bottom",
        "a (background|backdrop) that is {background.left} on the left and {background.right}"
        " on the right",
        "a (two-tone|two-colored) (background|backdrop), {background.top} above"
        " {background.bottom}",
        "a (two-tone|two-colored) (background|backdrop), {background.left} on the left and"
        " {background.right} on the right",
    ],
    "setting": [
        "the (background|backdrop) is (plain|uniformly|entirely|all|) {background.color}.",
        "the (upper|top) part of the (background|backdrop|picture) is {background.top} and the"
        " (lower|bottom) part [is] {background.bottom}.",
        "the left (part|side) of the (background|backdrop|picture) is {background.left} and the"
        " right (part|side) [is] {background.right}.",
    ],
    "acts": [
        "{act:a}{!b.color}{!c.color}",
        "{two}{!c.color}",
        "{act:a} {act:b} {act:c}",
        "{act:c} {act:a} {act:b}",
        "{two} {act:c}",
        "{act:c} {two}",
    ],
    "two": [
        "{act:a} {act:b}",
        "{act:b} {act:a}",
        "{the:a} {does:a}, (while|and|whereas) {the:b} {does:b}.",
        "{the:b} {does:b}, (while|and|whereas) {the:a} {does:a}.",
        "{act:a} (meanwhile|at the same time), {the:b} {does:b}.",
        "{the:a} {move:a} {a.motion} and {the:b} {move:b} {b.motion} until they (collide|meet|"
        "bump into each other)" + COLLIDE + "; (then|after that) {the:a} (goes|moves) back"
        " {a.then} and {the:b} {b.then}.",
    ],
    "act": [
        "{the} {does}.",
        "{the} (is|lies|sits|can be found) {.at}{style=picture}.",
        "{the} {move} {.motion}. it (bounces off|rebounds from) the {bounced} edge"
        " and then (moves|heads|goes) {.then}.",
    ],
    "bounced": [f"{edge}{{.event=bounces off the {edge} edge}}" for edge in EDGES],
    "does": [
        "{move} {.motion}{!.event}",
        "(stays|remains|rests) (still|in place|where it is|motionless){.motion=still}[ {.at}]",
        "(does not move|is not moving|is at rest){.motion=still}",
        *BOUNCE,
        *LEAVE,
        *RETURN,
        *ENTER,
        *MEET,
    ],
    "move": [
        "(moves|slides|glides|drifts|travels|floats) [{.speed}]",
        "rolls{.kind=circle} [{.speed}]",
    ],
    "painting": [
        "{!stroke1.color}",
        " {stroke:stroke1}{!stroke2.color}",
        " (first|to begin with), a brush paints a {stroke1.color} {mark} {stroke1.way};"
        " (then|after that|next) it (paints|adds) a {stroke2.color} (one|{mark}) {stroke2.way}.",
        " a {stroke1.color} {mark} is painted {stroke1.way}, (followed by|and then) a"
        " {stroke2.color} one {stroke2.way}.",
    ],
    "mark": ["stroke", "line"],
    "stroke": [
        "a brush (paints|draws) a {.color} {mark} {.way}[, (which|and it) stays (there|visible)].",
        "a [{.line}] {.color} {mark} (grows|is painted) {.way}.",
        "there is [also] a {.line} {.color} {mark}{!.way}.",
        "a {.line} {.color} {mark} is (painted|drawn) on the background{!.way}.",
    ],
    "end": [
        "{camera_long}[ {look}]",
        "{look}[ {camera_long}]",
    ],
    "camera_long": [
        "the camera (does not move|is fixed|stays still|is static|remains still){camera=still}.",
        "(it is seen|all of it is seen|everything is filmed) from a (fixed|static) camera"
        "{camera=still}.",
    ],
    "look": [
        "(it|the whole) is a (simple|flat|minimal|plain) [two-dimensional|2d] animation"
        "[ (without|with no) (shading|texture|shadows)]{style=animation}.",
        "(it|the whole) is a (simple|flat|minimal|plain) [two-dimensional|2d]"
        " (drawing|picture|graphic)[ (without|with no) (shading|texture|shadows)]{style=picture}.",
        "the style is (flat|simple|minimal|plain) and (geometric|abstract|graphic)"
        "{style=animation}.",
    ],
}
GRAMMAR = Grammar(RULES, WORDS)
