"""python -m videodit.generate --workdir=runs/demo/dit --prompt="..." --size=96x64 --out=a.mp4

Many clips at a time: --requests=FILE.jsonl --out=FOLDER, each line {"prompt", "size", "frames",
"fps", "seed", "out"}. Each clip is written as soon as it is finished, in no particular order. A
wrong line is named and left out; the exit status is then 2.
"""

import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags
from absl import logging as absl_logging

from videodit.config import (
    SOLVERS,
    ConfigError,
    MeshConfig,
    SampleConfig,
    check,
    nearest,
    parse_size,
)
from videodit.data.video.files import write_video
from videodit.entry import run_command
from videodit.files import parse_object, plain_text, read_lines, replacing
from videodit.folders import check_trained
from videodit.inference.request import Request

LINE_FIELDS = ("prompt", "size", "frames", "fps", "seed", "out")  # of a line of --requests

NAME_BYTES = 200  # of a clip's file; its temporary file has a longer name

FLAGS = flags.FLAGS
flags.DEFINE_string("workdir", None, "Folder of a trained diffusion run.")
flags.DEFINE_string("prompt", None, "What the clip shows.")
flags.DEFINE_string("size", "64x64", "Width x height in pixels.")
flags.DEFINE_integer("frames", 17, "Frames of the clip.")
flags.DEFINE_float("fps", 12.0, "Frames per second.")
flags.DEFINE_integer("seed", 0, "The same seed, prompt and shape give the same clip.", 0, 2**32 - 1)
flags.DEFINE_string("requests", None, "A .jsonl file of many requests, instead of --prompt.")
flags.DEFINE_string("out", None, "The .mp4 to write, or with --requests a folder.")
flags.DEFINE_integer("steps", None, "Solver steps (default: the run's sample.steps).")
flags.DEFINE_float("guidance", None, "Guidance scale (default: the run's sample.guidance).")
flags.DEFINE_string("solver", None, f"{' or '.join(SOLVERS)} (default: the run's sample.solver).")


def generate(workdir: str, requests: dict[Path, Request], **sample: Any) -> None:
    """Samples every request with the run's EMA weights and writes it to its path.

    `sample` replaces fields of the run's SampleConfig. Raises ConfigError, before any weights are
    read, for a path that cannot be written and for a clip that cannot be made.
    """
    for path in requests:
        check_output(path)
    import jax  # takes seconds, as what imports it does

    from videodit.inference.pipeline import Pipeline

    paths, asked = list(requests), list(requests.values())
    pipeline = Pipeline.read(workdir, "--workdir", requests=asked, **sample)
    progress = GroupProgress([len(group) for group in pipeline.groups(asked)])
    for index, clip in pipeline(asked):
        if jax.process_index() == 0:
            write_whole(paths[index], clip, asked[index].fps)
            size = f"{clip.shape[2]}x{clip.shape[1]}, {len(clip)} frames"
            print(f"{progress.next()} {paths[index]}: {size}, {asked[index].prompt}", flush=True)


class GroupProgress:
    """Counts finished clips and estimates the time left, by group of clips that finish together.

    The first group waits for compilation; once there are others, they alone are the measure.
    """

    def __init__(self, groups: Sequence[int]):
        """groups: how many clips each group has."""
        self._ends, self._done, self._finished = np.cumsum(groups), 0, [time.monotonic()]

    def next(self) -> str:
        """Counts a clip: "[3/128, 1:40 left]"."""
        from videodit.metrics import format_seconds  # imports jax

        self._done += 1
        group = int(np.searchsorted(self._ends, self._done)) + 1  # 1 is the first
        if group == len(self._finished):
            self._finished.append(time.monotonic())
        first = min(group - 1, 1)
        each = (self._finished[group] - self._finished[first]) / (group - first)
        left = format_seconds(each * (len(self._ends) - group))
        return f"[{self._done}/{self._ends[-1]}, {left} left]"


def check_output(path: Path) -> None:
    """Makes the folder of `path`; raises ConfigError if an .mp4 file cannot be written there."""
    _check_name(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise _refusal(path, error.strerror) from None
    if path.is_dir():
        raise _refusal(path, "a folder has this name")


def _check_name(path: str | Path, name: str = "--out") -> None:
    check(Path(path).suffix == ".mp4", name, str(path), "a file that ends in .mp4")
    long = len(os.fsencode(Path(path).name)) > NAME_BYTES
    check(not long, name, str(path), f"a name of at most {NAME_BYTES} bytes")


def _refusal(path: Path, reason: str | None) -> ConfigError:
    return ConfigError(f"--out={str(path)!r}: expected a file that can be written ({reason})")


def write_whole(path: Path, clip: np.ndarray, fps: float) -> None:
    """Writes T H W 3 uint8 under another name first: the file at `path` is whole or not there.

    Raises ConfigError if the file cannot be written.
    """
    try:
        with replacing(path) as temporary:
            write_video(temporary, clip, fps)
    except OSError as error:
        raise _refusal(path, error.strerror) from None


def read_requests(file: str, folder: str, left_out: list[str]) -> dict[Path, Request]:
    """The requests of a .jsonl file by the path to write.

    What is wrong with a line is added to `left_out`, with its number. Raises ConfigError if no line
    is left.
    """
    check(Path(file).is_file(), "--requests", file, "a .jsonl file; there is none")
    requests: dict[Path, Request] = {}

    def parse(line: str) -> None:
        path, request = _parse_request(parse_object(line))
        again = Path(folder) / path in requests
        check(not again, "out", path, "another file than of an earlier line")
        requests[Path(folder) / path] = request

    read_lines(file, parse, left_out.append)
    if not requests:
        why = left_out[0] if left_out else "the file is empty"
        raise ConfigError(f"--requests={file!r}: expected a request a line; {why}")
    return requests


def _parse_request(values: dict[str, Any]) -> tuple[str, Request]:
    for name in ("prompt", "size", "out"):
        if name not in values:
            raise ConfigError(f"{name} is missing")
    for name in values:
        if name not in LINE_FIELDS:
            raise ConfigError(f"unknown field {name}: {nearest(name, LINE_FIELDS)}")
    out, size, prompt = (plain_text(name, values.pop(name)) for name in ("out", "size", "prompt"))
    width, height = parse_size(size)
    _check_name(out, "out")
    return out, Request(prompt, width, height, **values)


def _requests_of_flags(left_out: list[str]) -> dict[Path, Request]:
    for name in ("workdir", "out"):
        if not FLAGS[name].value:
            raise ConfigError(f"--{name}: expected a value")
    if (FLAGS.prompt is None) == (FLAGS.requests is None):
        raise ConfigError("expected either --prompt or --requests")
    if FLAGS.requests is not None:
        return read_requests(FLAGS.requests, FLAGS.out, left_out)
    width, height = parse_size(FLAGS.size, "--size")
    request = Request(FLAGS.prompt, width, height, FLAGS.frames, FLAGS.fps, FLAGS.seed)
    return {Path(FLAGS.out): request}


def _sample_of_flags() -> dict[str, Any]:
    """The fields of SampleConfig that flags change. Raises ConfigError naming the flag."""
    names = ("steps", "guidance", "solver")
    given = [name for name in names if FLAGS[name].value is not None]
    changes: dict[str, Any] = {name: FLAGS[name].value for name in given}
    try:
        SampleConfig(**changes)
    except ConfigError as error:
        raise ConfigError(str(error).replace("sample.", "--", 1)) from None
    return changes


def main(_: list[str]) -> None:
    """Runs the command line. Raises ConfigError."""
    absl_logging.set_verbosity(absl_logging.WARNING)
    left_out: list[str] = []
    requests = _requests_of_flags(left_out)
    for reason in left_out:
        print(f"left out: {reason}", flush=True)
    changes = _sample_of_flags()
    check_trained(FLAGS.workdir, "--workdir")
    for path in requests:
        check_output(path)
    from videodit.sharding import join_processes  # imports jax, which takes a second

    join_processes(MeshConfig())
    generate(FLAGS.workdir, requests, **changes)
    if left_out:
        raise ConfigError(f"{len(left_out)} requests were left out, the first is {left_out[0]}")


if __name__ == "__main__":
    run_command(main)
