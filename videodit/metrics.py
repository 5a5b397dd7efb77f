"""What a run reports: lines for people, metrics.jsonl for programs, TensorBoard files for both.

The only place that formats numbers for people.
"""

import os
import time
from collections import deque
from pathlib import Path

import jax
from tensorboardX import SummaryWriter

from videodit.files import append_record, read_records, write_records

FILE = "metrics.jsonl"
KINDS = {"step": int, "kind": str}  # fields that a line must have
# Metrics that are printed only if they are not 0, and metrics that are never printed.
QUIET = ("replaced", "skipped", "tokens_dropped", "flops_saved", "save_wait")
HIDDEN = ("compiles",)
HIDDEN_PARTS = ("_at_", "following_")  # of names of metrics that are too many for a line
PERCENT = ("padding", "data_wait", "save_wait", "mfu", "hfu")
WINDOW_SECONDS = 30.0  # speed is the mean over this long


class StepTimer:
    """Speed over the last `window` seconds, and the time left at that speed."""

    def __init__(self, step: int, total_steps: int, *, window: float = WINDOW_SECONDS) -> None:
        self.total_steps, self.window = total_steps, window
        # Time in seconds, steps trained by then, tokens trained on by then.
        self._marks: deque[tuple[float, int, int]] = deque([(time.perf_counter(), step, 0)])

    def update(self, step: int, tokens: int) -> dict[str, float]:
        """The speed after `step` steps in total; `tokens`: real tokens since the last call.

        Returns step_seconds (s), tokens_per_second (tokens/s) and seconds_left (s). `pause`
        excludes time that was not spent on steps.
        """
        self._marks.append((time.perf_counter(), step, self._marks[-1][2] + tokens))
        while len(self._marks) > 2 and self._marks[-1][0] - self._marks[1][0] >= self.window:
            self._marks.popleft()
        (then, old_step, old_tokens), (now, _, all_tokens) = self._marks[0], self._marks[-1]
        step_seconds = (now - then) / max(step - old_step, 1)
        return {
            "step_seconds": step_seconds,
            "tokens_per_second": (all_tokens - old_tokens) / max(now - then, 1e-9),
            "seconds_left": step_seconds * (self.total_steps - step),
        }

    def pause(self, seconds: float) -> None:
        """Excludes `seconds`, spent on an evaluation or a save, from the speed."""
        self._marks = deque((then + seconds, step, tokens) for then, step, tokens in self._marks)


class MetricWriter:
    """Writes the metrics of a run into `workdir`, on process 0 only.

    Each write appends a line to metrics.jsonl: {"step", "kind", "time" (unix seconds), **values}.
    A run that resumes after `resume_step` steps first deletes all later lines, because it will
    write them again.
    """

    def __init__(
        self, workdir: str | os.PathLike, total_steps: int, *, resume_step: int = 0
    ) -> None:
        self.total_steps = total_steps
        self._active = jax.process_index() == 0
        if not self._active:
            return
        self._path = Path(workdir) / FILE
        self._path.parent.mkdir(parents=True, exist_ok=True)
        _drop_after(self._path, resume_step)
        folder = self._path.with_name("tensorboard")
        self._board = SummaryWriter(str(folder), purge_step=resume_step + 1)

    def write(self, step: int, kind: str, values: dict[str, float]) -> None:
        """Reports `values` measured after `step` steps; `kind` is "train" or "eval"."""
        if not self._active:
            return
        values = {name: float(value) for name, value in values.items()}
        print(format_line(step, self.total_steps, kind, values), flush=True)
        record = {"step": step, "kind": kind, "time": time.time(), **values}
        append_record(self._path, record)
        for name, value in values.items():
            self._board.add_scalar(f"{kind}/{name}", value, step)

    def close(self) -> None:
        """Flushes and closes the files of TensorBoard."""
        if self._active:
            self._board.close()


def read_metrics(workdir: str | os.PathLike) -> list[dict]:
    """The lines of workdir/metrics.jsonl in the order written; damaged ones are left out."""
    return read_records(Path(workdir) / FILE, KINDS)


def has_line(workdir: str | os.PathLike, step: int, kind: str) -> bool:
    """Whether metrics of this kind were written after `step` steps."""
    lines = read_metrics(workdir)
    return any(line["step"] == step and line["kind"] == kind for line in lines)


def _drop_after(path: Path, step: int) -> None:
    old = read_metrics(path.parent) if step else []
    write_records(path, (record for record in old if record["step"] <= step))


def format_line(step: int, total_steps: int, kind: str, values: dict[str, float]) -> str:
    """One line for people: the loss first, each `x_stderr` behind its x, units behind figures.

    Metrics of QUIET are left out if they are 0, those of HIDDEN and HIDDEN_PARTS always.
    """
    quiet = {name for name in QUIET if not values.get(name)} | set(HIDDEN)
    quiet |= {name for name in values if any(part in name for part in HIDDEN_PARTS)}
    names = [name for name in values if not name.endswith("_stderr") and name not in quiet]
    parts = [f"{kind:5} {step:{len(str(total_steps))}}/{total_steps}"]
    for name in sorted(names, key=lambda name: name != "loss"):
        error = values.get(f"{name}_stderr")
        parts.append(_format_value(name, values[name]))
        parts[-1] += "" if error is None else f" ± {error:.2g}"
    return "  ".join(parts)


def _format_value(name: str, value: float) -> str:
    if name == "seconds_left":
        return f"{format_seconds(value)} left"
    if name == "tokens_per_second":
        return f"{format_count(value)} tokens/s"
    if name == "step_seconds":
        return f"{value * 1000:.0f} ms/step" if value < 10 else f"{value:.1f} s/step"
    if name in PERCENT:
        return f"{name} {100 * value:.1f} %"
    return f"{name} {value:.4g}"


def format_seconds(seconds: float) -> str:
    """7.3 -> "7 s", 100 -> "1:40", 3700 -> "1:01:40"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}:{minutes:02}:{rest:02}"
    return f"{minutes}:{rest:02}" if minutes else f"{rest} s"


def format_count(number: float) -> str:
    """950 -> "950", 12_345 -> "12.3k", 5_600_000 -> "5.6M", 7e9 -> "7B", three digits."""
    for size, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= 0.9995 * size:
            return f"{number / size:.3g}{letter}"
    return f"{number:.3g}"
