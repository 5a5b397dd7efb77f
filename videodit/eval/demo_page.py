"""A demo's figures and videos as one self-contained page.

A section names the files that it lacks, so an unfinished run has a page too. `python -m
tools.report` is the command.
"""

import html
import json
import statistics
from itertools import groupby
from pathlib import Path
from typing import Any

from videodit.config import ConfigError
from videodit.curation.film import ATTRIBUTION
from videodit.eval.charts import BLUE, GRAY, GREEN, ORANGE, Series, line_chart, smooth
from videodit.eval.page import STYLE, missing, video
from videodit.eval.training import Training, points, read_json
from videodit.metrics import format_count, format_seconds

INTRODUCTION = (
    "An autoencoder and a text-to-video model, trained for minutes from scratch on one film. "
    "Validation clips are the last moments of the shots whose other moments are trained on: the "
    "clips are new, their scenes and captions are not."
)
GENERATED_NOTE = (
    "The prompts are captions of the film. After so few steps expect the colours of the scene in "
    "tiles, not shapes."
)
EVALUATED = {  # figures of an evaluation -> their names in the table
    "loss": "validation loss",
    "loss_linear": "validation loss of the best linear predictor",
    "caption_gain": "validation loss that the right captions save",
    "caption_accuracy": "right captions told from others",
    "caption_chance": "the same by guessing",
    "psnr": "validation PSNR (dB)",
    "psnr_pca": "validation PSNR of PCA (dB)",
}


def clips(videos: list[str]) -> str:
    """The HTML of videos side by side."""
    return f'<div class="clips">{"".join(videos)}</div>'


def loss_chart(training: Training, bounds: list[Series], *, log: bool) -> str:
    """Training and validation loss over steps, with other curves as bounds."""
    raw = points(training.train, "loss")
    series = [
        Series("training batches, mean over tokens", raw, BLUE, faint=True),
        Series("mean of 10 of them", smooth(raw, 10), BLUE),
        Series("validation, mean over clips", points(training.evals, "loss"), ORANGE, marked=True),
        *bounds,
    ]
    chart = line_chart(series, y_label="loss", log=log)
    return chart or missing(training.workdir / "metrics.jsonl")


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


def dit_section(training: Training) -> str:
    """Charts of the DiT, and samples by step."""
    evals = training.evals
    linear = Series("best linear predictor", points(evals, "loss_linear"), GRAY, dashed=True)
    gains = [line for line in evals if "caption_gain" in line]
    gain = line_chart(
        [
            Series(
                "shuffled - right captions, ± standard error over clips",
                points(gains, "caption_gain"),
                GREEN,
                marked=True,
                errors=tuple(line["caption_gain_stderr"] for line in gains),
            ),
            Series("captions ignored", [(line["step"], 0.0) for line in gains], GRAY, dashed=True),
        ],
        y_label="validation loss that captions save",
    )
    gain = gain or missing(f"caption_gain in {training.workdir / 'metrics.jsonl'}")
    charts = f'<div class="charts">{loss_chart(training, [linear], log=False)}{gain}</div>'
    return f"<h2>Diffusion transformer</h2>{charts}{samples_by_step(training)}"


def samples_by_step(training: Training) -> str:
    """Samples of up to six evaluations during training, with a row for each caption."""
    steps = sorted(training.draws)
    if not steps:
        return missing(training.workdir / "draws")
    chosen = sorted({steps[round(i * (len(steps) - 1) / 5)] for i in range(6)})
    rows: dict[str, list[str]] = {}
    for step in chosen:
        for item in training.draws[step]:
            rows.setdefault(item["caption"], []).append(video(item["file"], f"step {step}"))
    return f"<h3>Samples during training</h3>{prompted(rows)}"


def prompted(rows: dict[str, list[str]]) -> str:
    """Rows of videos, each under its prompt."""
    return "".join(
        f'<p class="prompt">{html.escape(prompt)}</p>{clips(row)}' for prompt, row in rows.items()
    )


def generated_section(run: Path) -> str:
    """The videos that were generated, by prompt."""
    file = run / "requests.jsonl"
    if not file.exists():
        return f"<h2>Generated from text</h2>{missing(file)}"
    requests = [json.loads(line) for line in file.read_text().splitlines()]
    rows: dict[str, list[str]] = {}
    for request in requests:
        shown = video(run / "samples" / request["out"], request_line(request))
        rows.setdefault(request["prompt"], []).append(shown)
    return f"<h2>Generated from text</h2><p>{GENERATED_NOTE}</p>{prompted(rows)}"


def request_line(request: dict[str, Any]) -> str:
    """A request in words: {"size": "96x56", "frames": 17, "fps": 12, ...} gives "96×56, 1.4 s"."""
    size = request["size"].replace("x", "×")
    return f"{size}, {request['frames'] / request['fps']:.1f} s"


def tiles(autoencoder: Training, dit: Training, stages: dict[str, Any]) -> str:
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
    cards = [f"<div><small>{a}</small><b>{b}</b><small>{c}</small></div>" for a, b, c in found]
    return f'<div class="tiles">{"".join(cards)}</div>'


def training_rows(name: str, training: Training) -> list[tuple[str, str]]:
    """Rows of the table of figures for one model."""
    rows = []
    if "parameters" in training.summary:
        rows.append((f"{name}: parameters", format_count(training.summary["parameters"])))
    if "padding" in training.summary:
        padding = f"{100 * training.summary['padding']:.2f} %"
        rows.append((f"{name}: padding of the rows, mean", padding))
    if training.train:
        rows.append((f"{name}: steps", str(training.train[-1]["step"])))
    for key, label, text in (
        ("tokens_per_second", "speed", lambda x: f"{format_count(x)} tokens/s"),
        ("step_seconds", "time of a step", lambda x: f"{1000 * x:.0f} ms"),
    ):
        values = [line[key] for line in training.train if key in line]
        if values:
            rows.append((f"{name}: {label}, median", text(statistics.median(values))))
    for key, label in EVALUATED.items():
        if (value := training.last(key)) is not None:
            rows.append((f"{name}: {label}", f"{value:.4g}"))
    return rows


def table_section(autoencoder: Training, dit: Training, stages: dict[str, Any]) -> str:
    """The table of everything that was measured."""
    rows = training_rows("autoencoder", autoencoder) + training_rows("DiT", dit)
    for name, stage in stages.items():
        note = "" if stage["done"] else " (not finished)"
        rows.append((f"stage {name}", format_seconds(stage["seconds"]) + note))
    if stages:
        rows.append(("all stages", format_seconds(sum(s["seconds"] for s in stages.values()))))
    cells = "".join(f"<tr><td>{html.escape(a)}</td><td>{b}</td></tr>" for a, b in rows)
    return f"<h2>Measured</h2><table>{cells}</table>" + ("" if stages else missing("stages.json"))


def page(run: Path) -> str:
    """The report of the run folder as HTML text. Raises ConfigError if there is no such folder."""
    if not run.is_dir():
        command = f"python -m tools.demo --out={run}"
        raise ConfigError(f"--run={run}: expected the folder of a demo, made by `{command}`")
    autoencoder, dit = Training.read(run / "autoencoder"), Training.read(run / "dit")
    stages = read_json(run / "stages.json") or {}
    body = "".join(
        [
            tiles(autoencoder, dit, stages),
            generated_section(run),
            autoencoder_section(autoencoder),
            dit_section(dit),
            table_section(autoencoder, dit, stages),
        ]
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>videodit demo</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{STYLE}</style></head><body><main><h1>videodit demo</h1>"
        f"<p>{INTRODUCTION}</p>"
        f"{body}<footer>{ATTRIBUTION}</footer></main></body></html>"
    )
