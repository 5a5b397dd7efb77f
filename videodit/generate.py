"""python -m videodit.generate --workdir=runs/demo/dit --prompt="..." --size=96x64 --out=a.mp4

Many clips at a time: --requests=FILE.jsonl --out=FOLDER, each line {"prompt", "size", "frames",
"fps", "seed", "out"}. Each clip is written as soon as it is finished, in no particular order.
"""

import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import app, flags
from absl import logging as absl_logging

from videodit.config import ConfigError, MeshConfig, nearest, refuse
from videodit.data.video.files import write_video
from videodit.inference.pipeline import Pipeline
from videodit.inference.request import Request, parse_size
from videodit.metrics import format_seconds
from videodit.sharding import join_processes

LINE_FIELDS = ("prompt", "size", "frames", "fps", "seed", "out")  # of a line of --requests

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
flags.DEFINE_string("solver", None, "euler or heun (default: the run's sample.solver).")


def generate(workdir: str, requests: dict[Path, Request], **sample: Any) -> None:
    """Samples every request with the run's EMA weights and writes it to its path.

    `sample` replaces fields of the run's SampleConfig. Raises ConfigError, before any weights are
    read, for a path that cannot be written and for a clip that cannot be made.
    """
    for path in requests:
        check_output(path)
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
        raise ConfigError(f"out {str(path)!r}: {path.parent}: {error.strerror}") from None
    if path.is_dir():
        raise ConfigError(f"out {str(path)!r}: a folder has this name")


def _check_name(path: str | Path) -> None:
    if Path(path).suffix != ".mp4":
        raise ConfigError(f"out {str(path)!r}: expected a file that ends in .mp4")


def write_whole(path: Path, clip: np.ndarray, fps: float) -> None:
    """Writes T H W 3 uint8 under another name first: the file at `path` is whole or not there.

    Raises ConfigError if the file cannot be written.
    """
    temporary = path.with_name(f".{path.name}.part")
    try:
        write_video(temporary, clip, fps)
        temporary.replace(path)
    except OSError as error:
        raise ConfigError(f"out {str(path)!r}: {error.strerror}") from None


def read_requests(file: str, folder: str) -> dict[Path, Request]:
    """The requests of a .jsonl file by the path to write. Raises ConfigError naming a bad line."""
    if not Path(file).is_file():
        raise ConfigError(f"--requests={file!r}: no such file")
    requests = {}
    for number, line in enumerate(Path(file).read_text().splitlines(), 1):
        try:
            path, request = _parse_request(json.loads(line))
            if Path(folder) / path in requests:
                raise ConfigError(f"out {path!r} is asked for twice")
            requests[Path(folder) / path] = request
        except (ConfigError, ValueError) as error:
            raise ConfigError(f"{file}, line {number}: {error}") from None
    if not requests:
        raise ConfigError(f"--requests={file!r}: the file is empty")
    return requests


def _parse_request(values: Any) -> tuple[str, Request]:
    if not isinstance(values, dict):
        raise ConfigError(f"expected an object of fields, not {values!r}")
    for name in ("prompt", "size", "out"):
        if name not in values:
            raise ConfigError(f"{name} is missing")
    for name in values:
        if name not in LINE_FIELDS:
            raise ConfigError(f"unknown field {name}: {nearest(name, LINE_FIELDS)}")
    out, (width, height) = str(values.pop("out")), parse_size(str(values.pop("size")))
    _check_name(out)
    return out, Request(width=width, height=height, **values)


def _requests_of_flags() -> dict[Path, Request]:
    for name in ("workdir", "out"):
        if not FLAGS[name].value:
            raise ConfigError(f"--{name} is missing")
    if (FLAGS.prompt is None) == (FLAGS.requests is None):
        raise ConfigError("expected either --prompt or --requests")
    if FLAGS.requests is not None:
        return read_requests(FLAGS.requests, FLAGS.out)
    width, height = parse_size(FLAGS.size)
    request = Request(FLAGS.prompt, width, height, FLAGS.frames, FLAGS.fps, FLAGS.seed)
    return {Path(FLAGS.out): request}


def main(argv: list[str]) -> None:
    """Runs the command line. A ConfigError is printed as one line, with exit status 2."""
    absl_logging.set_verbosity(absl_logging.WARNING)
    try:
        if len(argv) > 1:
            raise ConfigError(f"unexpected argument {argv[1]!r}: {nearest(argv[1], FLAGS)}")
        requests = _requests_of_flags()
        join_processes(MeshConfig())
        names = ("steps", "guidance", "solver")
        changes = {name: FLAGS[name].value for name in names if FLAGS[name].value is not None}
        generate(FLAGS.workdir, requests, **changes)
    except ConfigError as error:
        refuse(error)


if __name__ == "__main__":
    app.run(main)
