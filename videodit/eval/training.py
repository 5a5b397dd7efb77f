"""Reads what a run has left in its workdir: metrics, summary and drawn clips."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from videodit import files
from videodit.config import ConfigError
from videodit.metrics import read_metrics

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Training:
    """What a run has left in its workdir; fields are empty where nothing exists yet."""

    workdir: Path
    train: list[dict[str, Any]]  # lines of metrics.jsonl about training
    evals: list[dict[str, Any]]  # lines of metrics.jsonl about evaluations
    summary: dict[str, Any]
    draws: dict[int, list[dict[str, Any]]]  # by step: its index.json, with "file" as a path

    @classmethod
    def read(cls, workdir: Path) -> "Training":
        """Reads a workdir."""
        metrics = read_metrics(workdir)
        draws = {
            int(index.parent.name): [
                item | {"file": index.parent / item["file"]} for item in (read_json(index) or [])
            ]
            for index in sorted((workdir / "draws").glob("*/index.json"))
        }
        return cls(
            workdir,
            [line for line in metrics if line["kind"] == "train"],
            [line for line in metrics if line["kind"] == "eval"],
            read_json(workdir / "summary.json") or {},
            draws,
        )

    def last(self, name: str) -> float | None:
        """A figure of the last evaluation that has it; None if none has."""
        return next((line[name] for line in reversed(self.evals) if name in line), None)


def read_json(file: Path) -> Any:
    """The content of a JSON file; None if there is none. A damaged one is logged, and None too."""
    try:
        return files.read_json(file) if file.exists() else None
    except ConfigError as error:
        logger.warning("left out: %s", error)
        return None


def points(lines: list[dict[str, Any]], name: str) -> list[tuple[float, float]]:
    """(step, figure) of the lines that have the figure."""
    return [(line["step"], line[name]) for line in lines if name in line]
