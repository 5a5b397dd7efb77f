"""How good an autoencoder is on held-out clips, beside other codes of as many values.

    python -m tools.evaluate_autoencoder --workdir=runs/autoencoder --data=DATA --out=report \\
      --shapes=128x128x17,256x256x129 --video=FILM.mp4

Writes OUT/report.html (all in one file), OUT/report.json, and pictures and videos of some clips.
"""

import json
import math
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from absl import app, flags
from absl import logging as absl_logging

from videodit.checkpoint import read_config
from videodit.config import MULTISCALE, AutoencoderConfig, ConfigError, DataConfig, check
from videodit.curation.cuts import Shape, parse_shapes
from videodit.curation.latents import tokenizer_of
from videodit.data import patches
from videodit.data.sources.source import Source, open_source, open_tokenizer
from videodit.eval.autoencoder_page import choose, page, write_pictures
from videodit.eval.frechet import RANDOM_FEATURES
from videodit.eval.scores import (
    HELD_OUT,
    TRAINING,
    Clip,
    Scored,
    Scorer,
    bin_name,
    bin_of,
    fit_codes,
    means,
    read,
    read_one,
    rows_of,
    size_of,
)
from videodit.eval.shapes import (
    Tiles,
    clips_of_source,
    clips_of_video,
    score_seams,
    score_shapes,
    tiles_of,
)
from videodit.eval.streaming import (
    measure_streaming,
    memory_of_streaming,
    parse_size,
)
from videodit.inference.codec import Codec
from videodit.models.perceptual import Weights, read_features

PERCEPTUAL = {  # by the name of the features, models/perceptual.py
    "lpips": "LPIPS, VGG-16",
    "multiscale": "multiscale features (cosine transforms, not learned); not LPIPS",
}


class Sample(NamedTuple):
    """What an evaluation looks at."""

    rows: list[int]  # held-out clips
    training: list[int]  # rows of clips that the baselines are fitted to
    shapes: Sequence[Shape]
    of_shape: Callable[[Shape], list[Clip]]
    tiled: Clip
    tiles: Tiles | None  # None: it is too small


def choose_sample(
    source: Source,
    patch: patches.Size,
    *,
    clips: int,
    fit_clips: int,
    shapes: Sequence[Shape] = (),
    video: str = "",
    shape_clips: int = 4,
    tile: int = 0,
) -> Sample:
    """As the flags of these names say. Raises ConfigError for what they ask and there is not.

    Tiles are those of the last shape, else of the largest clip.
    """
    rows = rows_of(source.catalog, HELD_OUT, clips)
    training = rows_of(source.catalog, TRAINING, fit_clips)
    of_shape = clips_of_video(video, shape_clips) if video else clips_of_source(source, shape_clips)
    firsts = [of_shape(shape)[0] for shape in shapes]
    tiled = firsts[-1] if firsts else largest(source, rows)
    tiles = tiles_of(patch, tiled.frames.shape[1:3], tile)
    return Sample(rows, training, shapes, of_shape, tiled, tiles)


def largest(source: Source, rows: Sequence[int]) -> Clip:
    """The clip of the most pixels of those that can be read. Raises ConfigError if none can."""
    size = lambda row: math.prod(size_of(source.catalog, row))
    clips = read(source, sorted(rows, key=size, reverse=True), "held-out clips tried")
    if (clip := next(clips, None)) is None:
        raise ConfigError("--data: expected a held-out clip that can be read")
    return clip


def evaluate(
    codec: Codec,
    source: Source,
    sample: Sample,
    out: Path,
    features: tuple[str, Weights] = (MULTISCALE, {}),
) -> dict:
    """The report but for streaming; writes the pictures into the folder `out`.

    Raises ConfigError if no clip can be read.
    """
    scorer = Scorer(codec, fit_codes(source, codec, sample.training), features)
    scored = [scorer.score(clip) for clip in read(source, sample.rows, "held-out clips scored")]
    if not scored:
        raise ConfigError("--data: expected a held-out clip that can be read")
    by_name = {source.catalog.ids[row]: row for row in sample.rows}
    shown = (read_one(source, by_name[one.name]) for one in choose(scored))
    frechet = scorer.frechet()
    coders = {name: row | {"frechet": frechet[name]} for name, row in means(scored).items()}
    report = {
        "features": {"perceptual": PERCEPTUAL[scorer.perceptual], "frechet": RANDOM_FEATURES},
        "counts": counts(scored, len(sample.training)),
        "coders": coders,
        "bins": bins(scored),
        "clips": [clip_report(one) for one in scored],
        "pictures": write_pictures(out, ((x, codec.reconstruct(x.frames, x.fps)) for x in shown)),
    }
    pca, shapes = scorer.linear_codes["PCA"], sample.shapes
    report["shapes"] = [
        one._asdict() | {"shape": str(one.shape)}
        for one in (score_shapes(codec, pca, shapes, sample.of_shape) if shapes else [])
    ]
    report["seams"] = seams(codec, sample.tiled, sample.tiles) if sample.tiles else None
    return report


def counts(scored: list[Scored], fitted: int) -> dict[str, int]:
    return {
        "clips": len(scored),
        "frames": sum(one.size[0] for one in scored),
        "pixels": sum(math.prod(one.size) for one in scored),
        "latent_values": sum(one.latent_values for one in scored),
        "fitted_clips": fitted,
    }


def bins(scored: list[Scored]) -> list[dict]:
    """The means of the clips of each resolution and duration, small and short ones first."""
    found = {}
    for one in scored:
        found.setdefault(bin_of(one.size), []).append(one)
    return [
        {"bin": bin_name(number), "clips": len(found[number]), "coders": means(found[number])}
        for number in sorted(found)
    ]


def clip_report(one: Scored) -> dict:
    frames, height, width = one.size
    about = {"id": one.name, "width": width, "height": height, "frames": frames}
    return about | {"latent_values": one.latent_values, "coders": one.scores}


def seams(codec: Codec, clip: Clip, tiles: Tiles) -> dict:
    """`score_seams` and what the clip is."""
    frames, height, width, _ = clip.frames.shape
    name = f"{clip.name}: {width}×{height}, {frames} frames"
    return {"clip": name} | score_seams(codec, clip, tiles)


def read_about(workdir: str) -> AutoencoderConfig:
    """What autoencoder a folder is of. Raises ConfigError naming --workdir."""
    cfg = read_config(workdir, "--workdir")
    check(cfg.task == "autoencoder", "--workdir", workdir, f"an autoencoder, not {cfg.task!r}")
    return cfg.autoencoder


def open_data(data: str, workdir: str) -> Source:
    """A source of clips, with its own tokenizer or else the autoencoder's. Raises ConfigError."""
    tokenizer = open_tokenizer(tokenizer_of(data, workdir))
    try:
        return open_source(DataConfig(catalog=data), tokenizer)
    except ConfigError as error:  # which names the config's field
        raise ConfigError(str(error).replace("data.catalog=", "--data=")) from error


def make_folder(out: str) -> Path:
    """The folder of the report. Raises ConfigError if it cannot be."""
    try:
        Path(out).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--out={out!r}: expected a folder: {error.strerror}") from error
    check(os.access(out, os.W_OK), "--out", out, "a folder that may be written to")
    return Path(out)


def write(out: Path, report: dict) -> None:
    """report.json, in which what does not exist is null, and report.html."""
    (out / "report.json").write_text(json.dumps(_without_nan(report), indent=2) + "\n")
    (out / "report.html").write_text(page(out, report), encoding="utf-8")


def _without_nan(value):
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def run(args) -> None:
    """Evaluates and writes what the flags ask for. Raises ConfigError."""
    for name in ("clips", "fit_clips", "shape_clips"):
        check(getattr(args, name) >= 1, f"--{name}", getattr(args, name), "at least 1")
    check(bool(args.shapes) or not args.video, "--video", args.video, "--shapes to cut out of it")
    shapes = parse_shapes(args.shapes) if args.shapes else []
    stream_size = parse_size(args.stream_size, "--stream_size")
    features = read_features(args.lpips or MULTISCALE, "--lpips")
    cfg, out = read_about(args.workdir), make_folder(args.out)
    source = open_data(args.data, args.workdir)
    sample = choose_sample(
        source,
        cfg.patch,
        clips=args.clips,
        fit_clips=args.fit_clips,
        shapes=shapes,
        video=args.video,
        shape_clips=args.shape_clips,
        tile=args.tile,
    )
    memory = memory_of_streaming(args.workdir, args.stream_size) if args.streaming else {}
    codec = Codec.read(args.workdir, "--workdir")
    names = ("size", "patch", "channels")
    about = {"workdir": args.workdir} | {name: getattr(cfg, name) for name in names}
    report = {"autoencoder": about, "data": args.data}
    report |= evaluate(codec, source, sample, out, features)
    if args.streaming:
        report["streaming"] = measure_streaming(codec, stream_size, memory)
    write(out, report)
    for name, row in report["coders"].items():
        print(
            f"{name:12} {row['psnr']:6.2f} dB  SSIM {row['ssim']:.4f}  flicker {row['flicker']:.2f}"
        )
    print(f"Wrote {out / 'report.html'}")


def main(argv: list[str]) -> int:
    """Exit status 0, or 2 after a mistake of the user's, said in one line."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected argument {argv[1]!r}")
    absl_logging.set_verbosity(absl_logging.WARNING)
    try:
        run(flags.FLAGS)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    flags.DEFINE_string("workdir", "runs/autoencoder", "folder of the autoencoder's run")
    flags.DEFINE_string("data", None, "what data.catalog names", required=True)
    flags.DEFINE_string("out", "report", "folder for the report")
    flags.DEFINE_integer("clips", 64, "held-out clips (splits val and test) at most")
    flags.DEFINE_integer(
        "fit_clips", 256, "training clips that the baselines are fitted to, at most"
    )
    flags.DEFINE_string(
        "shapes", "", "further shapes, WIDTHxHEIGHTxFRAMES[@FPS],...: first as trained"
    )
    flags.DEFINE_string("video", "", "where clips of --shapes come from; else from --data")
    flags.DEFINE_integer("shape_clips", 4, "clips of each shape")
    flags.DEFINE_integer("tile", 0, "side of tiles in pixels; 0: two along the longer side")
    flags.DEFINE_string("lpips", "", "weights of LPIPS (videodit/models/perceptual.py:read_lpips)")
    flags.DEFINE_bool("streaming", True, "measure memory and time of streaming")
    flags.DEFINE_string("stream_size", "256x256", "WIDTHxHEIGHT of streamed frames")
    app.run(main)
