"""A page that shows every world: `python -m tools.worlds_gallery --out=docs`.

Writes OUT/worlds.md and OUT/worlds/NAME.png: clips of three aspects, a row of frames each, with
their captions and facts, how many frames a second a core makes, and how much detectors see. The
clips are always the same.
"""

import importlib
import inspect
import os
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
from absl import app, flags
from PIL import Image

from tools.measure_detectors import BINS, measure_detectors
from videodit.config import ConfigError
from videodit.worlds.clip_shapes import Shapes
from videodit.worlds.world import WORLDS, Clip, Shape, World, open_world

SHAPES = (Shape(160, 90, 33, 8.0), Shape(112, 112, 33, 8.0), Shape(80, 120, 33, 8.0))
SEEDS = {"survival": (1, 5, 9), "maze": (1, 9, 5), "rooms": (0, 7, 3)}
FRAMES, GAP = 6, 4  # of a clip in a sheet; pixels between them
TIMED = Shape(64, 64, 33, 8.0)
CLIPS = 10  # whose making is timed, after one that is not
COLORS = 256  # of a sheet, for a small file


def contact_sheet(clips: list[Clip]) -> Image.Image:
    """A row of FRAMES frames, from the first to the last, of each clip."""
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
    """How many frames of TIMED clips are made in a second of processor time."""
    world.make(CLIPS, TIMED)
    start = _processor_seconds()
    for seed in range(CLIPS):
        world.make(seed, TIMED)
    return CLIPS * TIMED.frames / (_processor_seconds() - start)


def _processor_seconds() -> float:
    """Of this process and of the simulators that it started and that have ended."""
    return sum(os.times()[:4])


def ceilings(measured: dict[str, dict]) -> list[str]:
    """Markdown: what of stored clips each world's detector gets right, by `measure_detectors`."""
    begin = BINS["shorter side"]
    bins = [f"shorter side >= {least}" for least in begin]
    heads = [f"{least} to {after - 1}" for least, after in pairwise(begin)] + [f"from {begin[-1]}"]
    count = max(report["clips"] for report in measured.values())
    lines = [
        "",
        "## What detectors see",
        "",
        f"The share of slots that a world's detector gets right in {count} clips of a dataset, by",
        "the pixels of their shorter side: no model can be measured to do better. Slots that it",
        "never says are not counted. `python -m tools.measure_detectors` says more.",
        "",
        "| world | all | " + " | ".join(heads) + " |",
        "|---|---:|" + "---:|" * len(bins),
    ]
    for name, report in measured.items():
        seen = report["stored"]
        shares = [f"{seen[part]['right']:.1%}" if part in seen else "-" for part in ("all", *bins)]
        lines.append(f"| {name} | " + " | ".join(shares) + " |")
    lines += ["", "Never said:"]
    for name, report in measured.items():
        if unseen := report["stored"]["unseen"]:
            lines.append(f"- {name}: " + ", ".join(f"`{kind}`" for kind in unseen))
    return lines


def about(name: str) -> str:
    """The line that describes a world: the docstring of its package."""
    return inspect.getdoc(importlib.import_module(f"videodit.worlds.{name}"))


def page(clips: dict[str, list[Clip]], speeds: dict[str, float], measured: dict[str, dict]) -> str:
    """The Markdown page. `measured`: reports of `measure_detectors`."""
    shape = f"{TIMED.width}x{TIMED.height}, {TIMED.frames} frames at {TIMED.fps:g} fps"
    lines = [
        "# Worlds",
        "",
        "Clips rendered from a known state, with captions that are true of it. Made by",
        "`python -m tools.worlds_gallery --out=docs`; the simulators are the extra `[worlds]`.",
        "Training data from them: `python -m tools.make_worlds`.",
        "",
        f"| world | | frames/s a core ({shape}) |",
        "|---|---|---:|",
        *(f"| [{name}](#{name}) | {about(name)} | {speeds[name]:,.0f} |" for name in clips),
    ]
    for name, shown in clips.items():
        lines += ["", f"## {name}", "", f"![clips of {name}](worlds/{name}.png)"]
        for k, clip in enumerate(shown, 1):
            height, width = clip.frames.shape[1:3]
            lines += [
                "",
                f"{k}. {width}x{height}, {len(clip.frames)} frames at {clip.fps:g} fps.",
                f"   *{clip.short.text}*  ",
                f"   {clip.long.text}",
            ]
        facts = ", ".join(f"`{slot}={value}`" for slot, value in shown[0].slots.items())
        lines += ["", f"All facts of the first: {facts}"]
    return "\n".join(lines + ceilings(measured)) + "\n"


def make(out: Path, names: tuple[str, ...], measured_clips: int) -> None:
    """Writes the page and its pictures. Raises ConfigError naming a simulator that is missing."""
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


def main(argv: list[str]) -> int:
    """Exit status 0, or 2 if a simulator is missing or a world has no such name."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected argument {argv[1]!r}")
    out = Path(flags.FLAGS.out)
    try:
        make(out, tuple(flags.FLAGS.worlds), flags.FLAGS.measured)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"Wrote {out / 'worlds.md'}")
    return 0


if __name__ == "__main__":
    flags.DEFINE_string("out", "docs", "folder for worlds.md and worlds/")
    flags.DEFINE_integer("measured", 200, "clips of each world that its detector is shown")
    flags.DEFINE_list("worlds", list(WORLDS), "which worlds the page shows")
    app.run(main)
