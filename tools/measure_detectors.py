"""How much of the truth a world's detector sees: the ceiling of all that it is used to measure.

    python -m tools.measure_detectors --world=sprites --clips=200 --out=FILE.json

The clips are drawn as tools.make_worlds draws those of the split test, and shown to the detector as
they were rendered (raw) and as a dataset holds them (stored). Of all clips' slots of one kind:

true      how many there are
said      the share for which the detector says a value, right or wrong
right     the share for which it says the true value
invented  how often it says a value of such a slot where there is none, as a share of the true ones

Objects are matched first (videodit/worlds/matching.py). A kind of which the detector never says
anything is listed, and left out of the sums.
"""

import collections
import functools
import json
import re
from pathlib import Path
from typing import NamedTuple

from absl import app, flags

from videodit.config import ConfigError, check, refuse
from videodit.curation.processes import in_processes
from videodit.data.progress import Progress
from videodit.data.video.files import encode, read_frames
from videodit.worlds.clip_shapes import Shapes, clip_seed, define_flags, shapes_from_flags
from videodit.worlds.matching import match
from videodit.worlds.world import WORLDS, Detection, Shape, Slots, open_world

VERSIONS = ("raw", "stored")
BINS = {"frames": (1, 2, 17), "shorter side": (0, 48, 80)}  # where each bin begins
ALL_BINS = [f"{name} >= {least}" for name, bins in BINS.items() for least in bins]


class Seen(NamedTuple):
    """What a detector says of a clip."""

    shape: Shape
    slots: Slots  # the truth
    said: dict[str, dict[str, Detection]]  # of each of VERSIONS


class Counts(NamedTuple):
    """See above."""

    true: int = 0
    said: int = 0
    right: int = 0
    invented: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(*map(sum, zip(self, other)))

    def shares(self) -> dict[str, float]:
        """How many are true, and the other counts as shares of these."""
        true, *others = self
        shares = [round(other / max(true, 1), 4) for other in others]
        return dict(zip(self._fields, [true, *shares]))


def measure_detectors(
    world: str, clips: int, shapes: Shapes, *, seed: int = 0, workers: int = 0
) -> dict:
    """The report on a world's detector: a table for each of VERSIONS, see `report`.

    `workers`: as in tools.make_worlds. Raises ConfigError.
    """
    check(clips >= 1, "clips", clips, "at least 1")
    open_world(world)  # fails early
    shapes.draw(0)
    look_at = functools.partial(look, world=world, shapes=shapes, seed=seed)
    progress, seen = Progress(clips, "clips"), []
    for one in in_processes(look_at, range(clips), workers):
        seen.append(one)
        progress.advance()
    asked = {"world": world, "clips": clips, "seed": seed, "shapes": shapes._asdict()}
    return asked | {version: report(seen, version) for version in VERSIONS}


def look(number: int, world: str, shapes: Shapes, seed: int) -> Seen:
    """What the detector says of a clip, raw and stored."""
    clip_of = clip_seed(seed, "test", number)
    shape, opened = shapes.draw(clip_of), open_world(world)
    clip = opened.make(clip_of, shape)
    stored = read_frames(encode(clip.frames, clip.fps))
    said = {
        version: match(clip.slots, opened.detect(frames, clip.fps))
        for version, frames in zip(VERSIONS, (clip.frames, stored))
    }
    return Seen(shape, clip.slots, said)


def report(seen: list[Seen], version: str) -> dict:
    """{"unseen": kinds, "all" or "kind KIND" or "BINS' NAME BIN": its counts and shares}."""
    rows = [
        (clip, kind, counts)
        for clip in seen
        for kind, counts in count(clip.slots, clip.said[version]).items()
    ]
    said = {kind for _, kind, counts in rows if counts.said + counts.invented}
    table = collections.defaultdict(Counts)
    for clip, kind, counts in rows:
        if kind in said:
            for name in ("all", *bins(clip.shape), kind):
                table[name] += counts
    unseen = sorted({kind for _, kind, _ in rows} - said)
    return {"unseen": unseen, **{name: counts.shares() for name, counts in table.items()}}


def count(slots: Slots, said: dict[str, Detection]) -> dict[str, Counts]:
    """The counts of a clip, by kind of slot."""
    found = collections.defaultdict(Counts)
    for slot, value in slots.items():
        right = slot in said and said[slot].value == value
        found[kind_of(slot)] += Counts(1, slot in said, right, 0)
    for slot in said.keys() - slots.keys():
        found[kind_of(slot)] += Counts(invented=1)
    return found


def kind_of(slot: str) -> str:
    """a.color is a kind of *.color, e2.verb of e*.verb, count.ball of count.*; others stay."""
    if numbered := re.match(r"([a-z]+)\d+\.(.+)", slot):
        return "{}*.{}".format(*numbered.groups())
    first, dot, rest = slot.partition(".")
    if dot and len(first) == 1:
        return f"*.{rest}"
    return f"{first}.*" if dot else slot


def bins(shape: Shape) -> list[str]:
    """The names of the bins that a shape is in."""
    sizes = {"frames": shape.frames, "shorter side": min(shape.width, shape.height)}
    return [f"{name} >= {max(b for b in BINS[name] if b <= sizes[name])}" for name in BINS]


def format_report(measured: dict) -> str:
    """The report as a table, one line a kind of slot."""
    kinds = {*measured["raw"], *measured["stored"]} - {"unseen", "all", *ALL_BINS}
    names = [*sorted(kinds), *(name for name in ALL_BINS if name in measured["raw"]), "all"]
    columns = ("true", "said", "right", "invented", "said", "right", "invented")
    lines = [f"{'':22}{'':8}{'raw':>30}{'stored':>30}"]
    lines += [f"{'':22}{columns[0]:>8}" + "".join(f"{name:>10}" for name in columns[1:])]
    for name in names:
        raw, stored = (measured[version].get(name, Counts().shares()) for version in VERSIONS)
        shares = [row[column] for row in (raw, stored) for column in ("said", "right", "invented")]
        lines.append(f"{name:22}{raw['true']:8d}" + "".join(f"{share:10.1%}" for share in shares))
    return "\n".join(lines + [f"never said: {', '.join(measured['raw']['unseen']) or 'nothing'}"])


def main(argv: list[str]) -> None:
    """Runs the command line; a ConfigError is printed without a traceback, exit status 2."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected argument {argv[1]!r}")
    args = flags.FLAGS
    try:
        folder = Path(args.out).parent
        check(folder.is_dir(), "out", args.out, f"a file in a folder; there is no {folder}")
        measured = measure_detectors(
            args.world, args.clips, shapes_from_flags(), seed=args.seed, workers=args.workers
        )
    except ConfigError as error:
        refuse(error)
    print(format_report(measured))
    if args.out:
        Path(args.out).write_text(json.dumps(measured, indent=2) + "\n")


if __name__ == "__main__":
    flags.DEFINE_string("world", None, "name of a world: " + ", ".join(WORLDS), required=True)
    flags.DEFINE_integer("clips", 200, "how many")
    define_flags()
    flags.DEFINE_integer("seed", 0, "another seed, other clips")
    flags.DEFINE_integer("workers", 0, "processes; 0 is one a core")
    flags.DEFINE_string("out", "", "JSON file for the report")
    app.run(main)
