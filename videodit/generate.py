"""python -m videodit.generate --workdir=runs/demo/dit --prompt="..." --size=96x64 --out=a.mp4

Many clips at a time: --requests=FILE.jsonl --out=FOLDER, each line {"prompt", "size", "frames",
"fps", "seed", "out"}; all are packed into rows and sampled together.
"""

import dataclasses
import json
import math
from pathlib import Path

import jax
from absl import app, flags
from absl import logging as absl_logging

from videodit.checkpoint import check_autoencoder, read_config, restore_ema
from videodit.config import Config, ConfigError, MeshConfig, SampleConfig, nearest, refuse
from videodit.data.tokenizer import Tokenizer
from videodit.data.video.files import write_video
from videodit.inference.sampling import (
    Request,
    make_sampler,
    pack_requests,
    parse_size,
    sample_requests,
)
from videodit.models import autoencoder, dit, text
from videodit.nn.kernel_check import resolve_attention_anew
from videodit.sharding import abstract, join_processes, make_mesh
from videodit.tasks.diffusion import DiffusionTask

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


def generate(workdir: str, requests: dict[Path, Request], **changes) -> None:
    """Samples every request with the run's averaged weights and writes it to its path.

    `changes` replace fields of the run's SampleConfig. Raises ConfigError for what cannot be made.
    """
    cfg = read_config(workdir, "--workdir")
    if cfg.task != "diffusion":
        raise ConfigError(f"--workdir={workdir!r}: expected a diffusion run, this is {cfg.task!r}")
    sample: SampleConfig = dataclasses.replace(cfg.sample, **changes)
    with jax.set_mesh(make_mesh(sampling_mesh(cfg, len(jax.devices())))):
        tokenizer = Tokenizer.read(workdir)
        pack_requests(list(requests.values()), tokenizer, cfg)  # refuse before anything is loaded
        compute = dataclasses.replace(resolve_attention_anew(cfg.compute), gather="layer")
        cfg = dataclasses.replace(cfg, compute=compute)
        task = DiffusionTask(cfg, tokenizer)
        frozen = task.make_frozen(())
        check_autoencoder(workdir, task.digest(frozen), cfg)
        target = abstract(task.init, jax.random.key(0), frozen)
        params = restore_ema(workdir, target, "--workdir")
        clips = sample_requests(
            make_sampler(task, sample), params, frozen, list(requests.values()), tokenizer, cfg
        )
    for (path, request), clip in zip(requests.items(), clips):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_video(path, clip, request.fps)
        print(f"{path}: {clip.shape[2]}x{clip.shape[1]}, {len(clip)} frames, {request.prompt}")


def sampling_mesh(cfg: Config, devices: int) -> MeshConfig:
    """All devices share out the rows, and as many of them as divide the widths the weights."""
    shapes = dit.SIZES[cfg.dit.size], autoencoder.SIZES[cfg.autoencoder.size]
    widths = [x.width for x in (*shapes, text.SIZES[cfg.text.size])]
    return MeshConfig(fsdp=math.gcd(devices, *widths))


def read_requests(file: str, folder: str) -> dict[Path, Request]:
    """The requests of a .jsonl file by the path to write. Raises ConfigError naming a bad line."""
    if not Path(file).is_file():
        raise ConfigError(f"--requests={file!r}: no such file")
    requests = {}
    for number, line in enumerate(Path(file).read_text().splitlines(), 1):
        try:
            path, request = _parse_request(json.loads(line))
            if Path(folder) / path in requests:
                raise ConfigError(f"out {path!r} stands there twice")
            requests[Path(folder) / path] = request
        except (ConfigError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"{file}, line {number}: {error}") from None
    if not requests:
        raise ConfigError(f"--requests={file!r}: the file is empty")
    return requests


def _parse_request(values: dict) -> tuple[str, Request]:
    if not isinstance(values, dict):
        raise ConfigError(f"expected an object of fields, not {values!r}")
    out, (width, height) = values.pop("out"), parse_size(values.pop("size"))
    if not str(out).endswith(".mp4"):
        raise ConfigError(f"out {out!r}: expected a name that ends in .mp4")
    request = Request(width=width, height=height, **values)
    for name in ("frames", "seed"):
        value = getattr(request, name)
        if not (isinstance(value, int) and 0 <= value < 2**32):
            raise ConfigError(f"{name} {value!r}: expected a whole number, not negative")
    return out, request._replace(prompt=str(request.prompt), fps=float(request.fps))


def _requests_of_flags() -> dict[Path, Request]:
    for name in ("workdir", "out"):
        if not FLAGS[name].value:
            raise ConfigError(f"--{name} is missing")
    if (FLAGS.prompt is None) == (FLAGS.requests is None):
        raise ConfigError("expected either --prompt or --requests")
    if FLAGS.requests is not None:
        return read_requests(FLAGS.requests, FLAGS.out)
    if Path(FLAGS.out).suffix != ".mp4":
        raise ConfigError(f"--out={FLAGS.out!r}: expected a file that ends in .mp4")
    width, height = parse_size(FLAGS.size)
    request = Request(FLAGS.prompt, width, height, FLAGS.frames, FLAGS.fps, FLAGS.seed)
    return {Path(FLAGS.out): request}


def main(argv):
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
