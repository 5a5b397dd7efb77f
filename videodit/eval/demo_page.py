"""A demo's figures and videos as one self-contained page.

A section names the files that it lacks, so an unfinished run has a page too. `python -m
tools.report` is the command.
"""

import html
from itertools import groupby
from pathlib import Path
from typing import Any

from videodit.config import ConfigError
from videodit.curation.film import ATTRIBUTION
from videodit.eval.charts import GRAY, ORANGE, Series, line_chart
from videodit.eval.page import document, missing, tiles, video
from videodit.eval.sections import clips, dit_section, loss_chart, prompted, table_section
from videodit.eval.training import Training, points, read_json
from videodit.files import read_records
from videodit.metrics import format_seconds

# Fields of a line of requests.jsonl.
REQUEST = {"prompt": str, "out": str, "size": str, "frames": int, "fps": float}
INTRODUCTION = (
    "An autoencoder and a text-to-video model, trained for minutes from scratch on one film. "
    "Validation clips are the last moments of the shots whose other moments are trained on: the "
    "clips are new, their scenes and captions are not."
)
GENERATED_NOTE = (
    "The prompts are captions of the film. After so few steps expect the colours of the scene in "
    "tiles, not shapes."
)


def autoencoder_section(training: Training) -> str:
    """Charts of the autoencoder, and pairs of clips."""
    psnr = line_chart(
        [
            Series("autoencoder", points(training.evals, "psnr"), ORANGE, marked=True),
            Series("PCA", points(training.evals, "psnr_pca"), GRAY, dashed=True),
        ],
        y_label="PSNR on validation clips (dB)",
    )
    psnr = psnr or missing(f"evaluations in {training.workdir / 'metrics.jsonl'}")
    charts = f'<div class="charts">{psnr}{loss_chart(training, [], log=True)}</div>'
    return f"<h2>Autoencoder</h2>{charts}{reconstructions(training)}"


def reconstructions(training: Training) -> str:
    """Pairs of original and reconstruction from the last evaluation."""
    if not training.draws:
        return missing(training.workdir / "draws")
    step = max(training.draws)
    by_clip = groupby(
        sorted(training.draws[step], key=lambda item: item["clip"]), lambda i: i["clip"]
    )
    pairs = []
    for _, items in by_clip:
        roles = {item["role"]: item for item in items}
        shown = [video(roles[r]["file"], r) for r in ("original", "reconstruction") if r in roles]
        caption = next(iter(roles.values()))["caption"]
        note = f"<p>{html.escape(caption)}</p>" if caption else ""
        pairs.append(f'<div class="group">{clips(shown)}{note}</div>')
    return f'<h3>Validation clips at step {step}</h3><div class="groups">{"".join(pairs)}</div>'


def generated_section(run: Path) -> str:
    """The videos that were generated, by prompt."""
    file = run / "requests.jsonl"
    if not file.exists():
        return f"<h2>Generated from text</h2>{missing(file)}"
    rows: dict[str, list[str]] = {}
    for request in read_records(file, REQUEST):
        shown = video(run / "samples" / request["out"], request_line(request))
        rows.setdefault(request["prompt"], []).append(shown)
    return f"<h2>Generated from text</h2><p>{GENERATED_NOTE}</p>{prompted(rows)}"


def request_line(request: dict[str, Any]) -> str:
    """A request in words: {"size": "96x56", "frames": 17, "fps": 12, ...} gives "96×56, 1.4 s"."""
    size = request["size"].replace("x", "×")
    return f"{size}, {request['frames'] / request['fps']:.1f} s"


def first_figures(autoencoder: Training, dit: Training, stages: dict[str, Any]) -> str:
    """The figures to see first, as far as they exist."""
    found = [
        ("total", format_seconds(sum(stage["seconds"] for stage in stages.values())), "all stages")
    ] * bool(stages)
    psnr, pca = autoencoder.last("psnr"), autoencoder.last("psnr_pca")
    if psnr is not None and pca is not None:
        found.append(("reconstruction", f"{psnr:.2f} dB", f"PCA {pca:.2f} dB"))
    loss, linear = dit.last("loss"), dit.last("loss_linear")
    if loss is not None and linear is not None:
        found.append(("validation loss", f"{loss:.4f}", f"best linear {linear:.4f}"))
    gain, error = dit.last("caption_gain"), dit.last("caption_gain_stderr")
    if gain is not None and error is not None:
        note = f"± {error:.2g}, standard error over clips"
        found.append(("right captions lower it by", f"{gain:.3g}", note))
    return tiles(found)


def page(run: Path) -> str:
    """The report of the run folder as HTML text. Raises ConfigError if there is no such folder."""
    if not run.is_dir():
        command = f"python -m tools.demo --out={run}"
        raise ConfigError(f"--run={run}: expected the folder of a demo, made by `{command}`")
    autoencoder, dit = Training.read(run / "autoencoder"), Training.read(run / "dit")
    stages = read_json(run / "stages.json") or {}
    body = "".join(
        [
            first_figures(autoencoder, dit, stages),
            generated_section(run),
            autoencoder_section(autoencoder),
            dit_section(dit),
            table_section({"autoencoder": autoencoder, "DiT": dit}, stages),
        ]
    )
    return document("videodit demo", INTRODUCTION, body, ATTRIBUTION)
