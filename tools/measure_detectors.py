"""Measures how much of the truth a world's detector sees: the ceiling of what it can measure.

    python -m tools.measure_detectors --world=sprites --clips=200 --out=FILE.json

The clips are those that tools.make_worlds would make for the split test. The detector sees each of
them as it was rendered (raw) and as a dataset stores it (stored). The report has, for each kind of
slot,

true      the number of these slots in all clips
said      the share of them for which the detector says a value, right or wrong
right     the share of them for which it says the true value
invented  how often it says a value for a slot that a clip does not have, relative to true

Objects are matched first (videodit/worlds/matching.py). A kind of slot for which the detector never
says a value is listed and does not count in the sums.
"""

import collections
import functools
import json
from pathlib import Path
from typing import NamedTuple

from absl import flags

from videodit.config import check
from videodit.curation.processes import in_processes
from videodit.data.progress import Progress
from videodit.data.video.files import encode, read_frames
from videodit.entry import run_command
from videodit.folders import check_file
from videodit.worlds.clip_shapes import Shapes, clip_seed, define_flags, shapes_from_flags
from videodit.worlds.matching import kind_of, match
from videodit.worlds.world import WORLDS, Detection, Shape, Slots, open_world

VERSIONS = ("raw", "stored")
BINS = {"frames": (1, 2, 17), "shorter side": (0, 48, 80)}  # the smallest value of each bin
ALL_BINS = [f"{name} >= {least}" for name, bins in BINS.items() for least in bins]


class Seen(NamedTuple):
    """What a detector says about a clip."""

    shape: Shape
    slots: Slots  # the truth
    said: dict[str, dict[str, Detection]]  # for each of VERSIONS


class Counts(NamedTuple):
    """Numbers of slots, see the file's docstring."""

    true: int = 0
    said: int = 0
    right: int = 0
    invented: int = 0

    def plus(self, other: "Counts") -> "Counts":
        """The sums of both counts."""
        return Counts(*map(sum, zip(self, other)))

    def shares(self) -> dict[str, float]:
        """The number of true slots, and the other counts as shares of it."""
        true, *others = self
        shares = [round(other / max(true, 1), 4) for other in others]
        return dict(zip(self._fields, [true, *shares]))


def measure_detectors(
    world: str, clips: int, shapes: Shapes, *, seed: int = 0, workers: int = 0
) -> dict:
    """The report on a world's detector: what was asked for, and a `report` for each of VERSIONS.

    `workers`: number of processes; 0 starts one for each core. Raises ConfigError for wrong
    arguments and for a simulator that is not installed.
    """
    check(clips >= 1, "clips", clips, "at least 1")
    open_world(world)  # these two raise errors before any process starts
    shapes.draw(0)
    look_at = functools.partial(look, world=world, shapes=shapes, seed=seed)
    progress, seen = Progress(clips, "clips"), []
    for one in in_processes(look_at, range(clips), workers):
        seen.append(one)
        progress.advance()
    asked = {"world": world, "clips": clips, "seed": seed, "shapes": shapes._asdict()}
    return asked | {version: report(seen, version) for version in VERSIONS}


def look(number: int, world: str, shapes: Shapes, seed: int) -> Seen:
    """What the detector says about test clip `number`, raw and stored."""
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
    """The counts and shares of all slots ("all"), of each kind of slot and of each of ALL_BINS.

    "unseen" lists the kinds for which the detector never says a value.
    """
    rows = [
        (clip, kind, counts)
        for clip in seen
        for kind, counts in count(clip.slots, clip.said[version]).items()
    ]
    said = {kind for _, kind, counts in rows if counts.said + counts.invented}
    table: dict[str, Counts] = collections.defaultdict(Counts)
    for clip, kind, counts in rows:
        if kind in said:
            for name in ("all", *bins(clip.shape), kind):
                table[name] = table[name].plus(counts)
    unseen = sorted({kind for _, kind, _ in rows} - said)
    return {"unseen": unseen, **{name: counts.shares() for name, counts in table.items()}}


def count(slots: Slots, said: dict[str, Detection]) -> dict[str, Counts]:
    """The counts of a clip, for each kind of slot."""
    found: dict[str, Counts] = collections.defaultdict(Counts)
    for slot, value in slots.items():
        right = slot in said and said[slot].value == value
        found[kind_of(slot)] = found[kind_of(slot)].plus(Counts(1, slot in said, right, 0))
    for slot in said.keys() - slots.keys():
        found[kind_of(slot)] = found[kind_of(slot)].plus(Counts(invented=1))
    return found


def bins(shape: Shape) -> list[str]:
    """The names in ALL_BINS of the bins that contain a shape."""
    sizes = {"frames": shape.frames, "shorter side": min(shape.width, shape.height)}
    return [f"{name} >= {max(b for b in BINS[name] if b <= sizes[name])}" for name in BINS]


def format_report(measured: dict) -> str:
    """The report as a table, with a line for each kind of slot and each bin."""
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


def main(_: list[str]) -> None:
    """Runs the command line. Raises ConfigError."""
    args = flags.FLAGS
    if args.out:
        check_file(args.out, "--out")
    measured = measure_detectors(
        args.world, args.clips, shapes_from_flags(), seed=args.seed, workers=args.workers
    )
    print(format_report(measured))
    if args.out:
        Path(args.out).write_text(json.dumps(measured, indent=2) + "\n")


if __name__ == "__main__":
    flags.DEFINE_string("world", None, "name of a world: " + ", ".join(WORLDS), required=True)
    flags.DEFINE_integer("clips", 200, "number of clips")
    define_flags()
    flags.DEFINE_integer("seed", 0, "another seed makes other clips")
    flags.DEFINE_integer("workers", 0, "number of processes; 0: one for each core")
    flags.DEFINE_string("out", "", "JSON file for the report")
    run_command(main)
