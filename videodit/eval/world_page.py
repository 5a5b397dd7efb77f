"""A world's model as one self-contained page: what its prompts say, and what its videos show.

A section names the files that it lacks, so an unfinished run has a page too. `python -m
tools.report --page=world` is the command.
"""

import html
import math
from pathlib import Path
from typing import Any

from videodit.config import ConfigError
from videodit.eval.charts import BLUE, GRAY, GREEN, ORANGE, Series, line_chart
from videodit.eval.page import document, missing, tiles, video
from videodit.eval.prompts import ALL
from videodit.eval.sections import clips, dit_section, table_section
from videodit.eval.training import Training, points, read_json
from videodit.metrics import format_seconds

INTRODUCTION = (
    "A text-to-video model, trained from scratch on clips of a world whose every fact is known. "
    "The prompts are short captions of clips that it was not trained on."
)
SHOWN = 48  # videos
KINDS = (  # kinds of slots, their words on the page, and their colours in the chart
    ("background.*", "background", GRAY),
    ("*.color", "color", ORANGE),
    ("*.kind", "kind", BLUE),
    ("*.at", "place", GREEN),
    ("*.size", "size", "#9333ea"),
    ("*.motion", "motion", "#db2777"),
)
Following = dict[str, dict[str, dict[str, float]]]  # of prompts.json


def page(run: Path) -> str:
    """The report of the run folder as HTML text. Raises ConfigError if there is no such folder."""
    if not run.is_dir():
        command = f"python -m tools.world --out={run}"
        raise ConfigError(f"--run={run}: expected the folder of a world, made by `{command}`")
    dit, stages = Training.read(run / "dit"), read_json(run / "stages.json") or {}
    report = read_json(run / "prompts" / "prompts.json")
    body = "".join(
        [
            first_figures(report, dit, stages),
            videos_section(run / "prompts" / "clips"),
            following_section(run, report, dit),
            dit_section(dit),
            table_section({"DiT": dit}, stages),
        ]
    )
    return document("videodit world", INTRODUCTION, body)


def first_figures(report: dict[str, Any] | None, dit: Training, stages: dict[str, Any]) -> str:
    """The figures to see first, as far as they exist."""
    found = []
    if stages:
        seconds = sum(stage["seconds"] for stage in stages.values())
        found.append(("total", format_seconds(seconds), "all stages"))
    if report:
        made = report["following"]["generated"][ALL]
        note = f"by chance {made['chance']:.0%}, of {made['claimed']} claims"
        found.append(("claims of prompts shown", f"{made['right']:.0%}", note))
    accuracy, chance = dit.last("caption_accuracy"), dit.last("caption_chance")
    if accuracy is not None and chance is not None:
        note = f"by guessing {chance:.0%}"
        found.append(("right captions told from others", f"{accuracy:.0%}", note))
    if report:
        ratio = report["differences_ratio"]["across"]
        found.append(("differences across tokens", f"{ratio:.2f}×", "those of true clips"))
    return tiles(found)


def videos_section(folder: Path) -> str:
    """The first videos, each under its prompt."""
    index = read_json(folder / "index.json")
    if index is None:
        return f"<h2>Generated from text</h2>{missing(folder)}"
    shown = clips([video(folder / item["file"], item["prompt"]) for item in index[:SHOWN]])
    return f"<h2>Generated from text</h2>{shown}"


def following_section(run: Path, report: dict[str, Any] | None, dit: Training) -> str:
    """The table of prompt following, and its curves over training."""
    title = "<h2>Prompt following</h2>"
    if report is None:
        return title + missing(run / "prompts" / "prompts.json")
    note = (
        "The world's detector reads the videos: the share of what prompts claim that it finds, "
        "beside the same in videos of other prompts, in true clips, and in the autoencoder's "
        "reconstructions of these."
    )
    steps = report["sample"]["steps"]
    sampled = f"{steps} {report['sample']['solver']} steps, guidance {report['sample']['guidance']}"
    chart = line_chart(
        [
            Series(name, points(dit.evals, f"following_{kind.removeprefix('*.')}"), color)
            for kind, name, color in KINDS
        ],
        y_label="share of claims shown, few prompts at each evaluation",
    )
    chart = f'<div class="charts">{chart}</div>' if chart else ""
    return f"{title}<p>{note} Samples: {sampled}.</p>{following_table(report['following'])}{chart}"


def following_table(tables: Following) -> str:
    """What prompts claim, by kind of slot."""
    head = ("", "claims", "shown", "by chance", "reconstructed", "true")
    lines = ["".join(f"<td><small>{word}</small></td>" for word in head)]
    for kind, name, _ in (*KINDS, (ALL, "all", "")):
        if kind in tables["generated"]:
            made = tables["generated"][kind]
            cells = [name, f"{made['claimed']:.0f}", with_error(made), f"{made['chance']:.0%}"]
            cells += [f"{tables[of][kind]['right']:.0%}" for of in ("reconstructed", "true")]
            lines.append("".join(f"<td>{html.escape(cell)}</td>" for cell in cells))
    return f"<table>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"


def with_error(made: dict[str, float]) -> str:
    """A share with its standard error over claims."""
    share = made["right"]
    error = math.sqrt(share * (1 - share) / max(made["claimed"], 1))
    return f"{share:.0%} ± {error:.0%}"
