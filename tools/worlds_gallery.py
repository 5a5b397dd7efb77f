"""Makes a page that shows every world.

    python -m tools.worlds_gallery --out=docs

It writes OUT/worlds.md and OUT/worlds/NAME.png. They show three clips of each world, of different
aspects, with their captions and facts, how many frames a core makes in a second, and how much the
detectors see. The clips are the same in every run.
"""

import importlib
import inspect
import os
from itertools import pairwise
from pathlib import Path

import numpy as np
from absl import flags
from PIL import Image

from tools.measure_detectors import BINS, measure_detectors
from videodit.entry import run_command
from videodit.folders import check_folder
from videodit.worlds.clip_shapes import Shapes
from videodit.worlds.world import WORLDS, Clip, Shape, World, open_world

SHAPES = (Shape(160, 90, 33, 8.0), Shape(112, 112, 33, 8.0), Shape(80, 120, 33, 8.0))
SEEDS = {"survival": (1, 5, 9), "maze": (1, 9, 5), "rooms": (0, 7, 3)}
FRAMES, GAP = 6, 4  # frames of each clip in a sheet; pixels between them
TIMED = Shape(64, 64, 33, 8.0)
CLIPS = 10  # number of clips whose making is timed
COLORS = 256  # colours of a sheet, few for a small file
INTRODUCTION = """\
# Worlds

A world renders clips from a known state and writes a short and a long caption for each of them.
Every claim of a caption is true: the facts of a clip are slots with values, such as `a.color=red`,
and a caption claims some of them. A detector finds slots in the frames alone, so it can tell how
much of its caption a generated video shows.

`python -m tools.make_worlds` makes datasets from worlds. The world sprites needs nothing more; the
simulators of the other worlds are the extra `[worlds]` (`pip install -e '.[worlds]'`). The
docstring of `videodit/worlds/__init__.py` lists the files that a new world needs. This page is made
by `python -m tools.worlds_gallery --out=docs`.
"""


def contact_sheet(clips: list[Clip]) -> Image.Image:
    """A picture with a row for each clip: FRAMES frames from the first to the last."""
    width = max(FRAMES * (clip.frames.shape[2] + GAP) for clip in clips) - GAP
    height = sum(clip.frames.shape[1] + GAP for clip in clips) - GAP
    sheet = Image.new("RGB", (width, height), "white")
    top = 0
    for clip in clips:
        shown = np.linspace(0, len(clip.frames) - 1, FRAMES).round().astype(int)
        for column, frame in enumerate(clip.frames[shown]):
            sheet.paste(Image.fromarray(frame), (column * (frame.shape[1] + GAP), top))
        top += clip.frames.shape[1] + GAP
    return sheet.quantize(COLORS, dither=Image.Dither.NONE)


def frames_per_second(world: World) -> float:
    """How many frames the world makes in a second of processor time, in clips of shape TIMED."""
    world.make(CLIPS, TIMED)  # the first clip takes longer
    start = _processor_seconds()
    for seed in range(CLIPS):
        world.make(seed, TIMED)
    return CLIPS * TIMED.frames / (_processor_seconds() - start)


def _processor_seconds() -> float:
    """Processor time of this process and of the simulators that it started and that have ended."""
    return sum(os.times()[:4])


def ceilings(measured: dict[str, dict]) -> list[str]:
    """Lines of Markdown: the share of slots that each world's detector gets right in stored clips.

    `measured`: reports of `measure_detectors` by world.
    """
    begin = BINS["shorter side"]
    bins = [f"shorter side >= {least}" for least in begin]
    heads = [f"{least} to {after - 1}" for least, after in pairwise(begin)] + [f"from {begin[-1]}"]
    count = max(report["clips"] for report in measured.values())
    lines = [
        "",
        "## What detectors see",
        "",
        f"The table has the share of slots that each detector gets right in {count} clips of a",
        "dataset, for all clips and by the length of their shorter side in pixels. No model can be",
        "measured to do better. Slots that a detector never says do not count.",
        "`python -m tools.measure_detectors` prints the shares of each kind of slot.",
        "",
        "| world | all | " + " | ".join(heads) + " |",
        "|---|---:|" + "---:|" * len(bins),
    ]
    for name, report in measured.items():
        seen = report["stored"]
        shares = [f"{seen[part]['right']:.1%}" if part in seen else "-" for part in ("all", *bins)]
        lines.append(f"| {name} | " + " | ".join(shares) + " |")
    lines += ["", "These slots are never said:", ""]
    for name, report in measured.items():
        if unseen := report["stored"]["unseen"]:
            lines.append(f"- {name}: " + ", ".join(f"`{kind}`" for kind in unseen))
    return lines


def about(name: str) -> str:
    """The line that describes a world: the docstring of its package."""
    return inspect.getdoc(importlib.import_module(f"videodit.worlds.{name}")) or ""


def page(clips: dict[str, list[Clip]], speeds: dict[str, float], measured: dict[str, dict]) -> str:
    """The Markdown page.

    By world: clips to show, `frames_per_second`, and reports of `measure_detectors`.
    """
    lines = introduction(speeds)
    for name, shown in clips.items():
        lines += section(name, shown)
    return "\n".join(lines + ceilings(measured)) + "\n"


def introduction(speeds: dict[str, float]) -> list[str]:
    """Lines of Markdown: what worlds are, and a table of them."""
    shape = f"{TIMED.width}x{TIMED.height}, {TIMED.frames} frames at {TIMED.fps:g} fps"
    return [
        INTRODUCTION,
        f"| world | what it shows | frames a second on one core ({shape}) |",
        "|---|---|---:|",
        *(f"| [{name}](#{name}) | {about(name)} | {speeds[name]:,.0f} |" for name in speeds),
    ]


def section(name: str, clips: list[Clip]) -> list[str]:
    """Lines of Markdown: a world's clips with their captions, and the facts of the first clip."""
    lines = ["", f"## {name}", "", f"![clips of {name}](worlds/{name}.png)"]
    for k, clip in enumerate(clips, 1):
        height, width = clip.frames.shape[1:3]
        lines += [
            "",
            f"{k}. {width}x{height}, {len(clip.frames)} frames at {clip.fps:g} fps.",
            f"   *{clip.short.text}*  ",
            f"   {clip.long.text}",
        ]
    facts = ", ".join(f"`{slot}={value}`" for slot, value in clips[0].slots.items())
    return [*lines, "", f"All facts of the first clip: {facts}"]


def make(out: Path, names: tuple[str, ...], measured_clips: int) -> None:
    """Writes the page and its pictures into the folder `out`.

    `names`: the worlds. `measured_clips`: so many clips of each are shown to its detector. Raises
    ConfigError that names a missing simulator.
    """
    clips, speeds, measured = {}, {}, {}
    (out / "worlds").mkdir(parents=True, exist_ok=True)
    for name in names:
        world, seeds = open_world(name), SEEDS.get(name, range(len(SHAPES)))
        clips[name] = [world.make(seed, shape) for seed, shape in zip(seeds, SHAPES)]
        speeds[name] = frames_per_second(world)
        contact_sheet(clips[name]).save(out / "worlds" / f"{name}.png", optimize=True)
        print(f"{name}: {speeds[name]:,.0f} frames/s a core", flush=True)
        measured[name] = measure_detectors(name, measured_clips, Shapes())
    (out / "worlds.md").write_text(page(clips, speeds, measured))


def main(_: list[str]) -> None:
    """Runs the command line. Raises ConfigError, also if a simulator is not installed."""
    out = Path(flags.FLAGS.out)
    check_folder(out, "--out")
    make(out, tuple(flags.FLAGS.worlds), flags.FLAGS.measured)
    print(f"Wrote {out / 'worlds.md'}")


if __name__ == "__main__":
    flags.DEFINE_string("out", "docs", "folder for worlds.md and worlds/")
    flags.DEFINE_integer(
        "measured", 200, "number of clips of each world that its detector is shown"
    )
    flags.DEFINE_list("worlds", list(WORLDS), "the worlds that the page shows")
    run_command(main)
