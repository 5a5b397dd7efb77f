"""Sections that pages of trained models share: charts of training, videos by prompt, figures."""

import html
import statistics
from typing import Any

from videodit.eval.charts import BLUE, GRAY, GREEN, ORANGE, Series, line_chart, smooth
from videodit.eval.page import missing, video
from videodit.eval.training import Training, points
from videodit.metrics import format_count, format_seconds

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


def table_section(trainings: dict[str, Training], stages: dict[str, Any]) -> str:
    """The table of everything that was measured of the models, given by name."""
    rows = [row for name, training in trainings.items() for row in training_rows(name, training)]
    for name, stage in stages.items():
        note = "" if stage["done"] else " (not finished)"
        rows.append((f"stage {name}", format_seconds(stage["seconds"]) + note))
    if stages:
        rows.append(("all stages", format_seconds(sum(s["seconds"] for s in stages.values()))))
    cells = "".join(f"<tr><td>{html.escape(a)}</td><td>{b}</td></tr>" for a, b in rows)
    return f"<h2>Measured</h2><table>{cells}</table>" + ("" if stages else missing("stages.json"))
