"""How good an autoencoder is on held-out clips, beside other codes of as many values.

    python -m tools.evaluate_autoencoder --workdir=runs/autoencoder --data=DATA --out=report \\
      --shapes=128x128x17,256x256x129 --video=FILM.mp4

Writes OUT/report.html (all in one file), OUT/report.json, and pictures and videos of some clips.
"""

import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path

from absl import app, flags
from absl import logging as absl_logging

from tools.autoencoder_page import choose, page, write_pictures
from tools.autoencoder_scores import (
    Clip,
    Scored,
    Scorer,
    bin_name,
    bin_of,
    fit_codes,
    held_out,
    means,
    read,
    read_one,
)
from tools.autoencoder_shapes import clips_of_source, clips_of_video, score_seams, score_shapes
from tools.autoencoder_streaming import MEMORY_FRAMES, parse_size, peak_memory, seconds_per_frame
from tools.cuts import Shape, parse_shapes
from videodit.codec import Codec
from videodit.config import MULTISCALE, SYNTHETIC, ConfigError, DataConfig, check
from videodit.data.sources import Source, open_source, open_tokenizer
from videodit.eval.frechet import RANDOM_FEATURES
from videodit.models.perceptual import Weights, read_features

SMALLEST_TILED = 4  # patches
PERCEPTUAL = {  # by the name of the features, models/perceptual.py
    "lpips": "LPIPS, VGG-16",
    "multiscale": "multiscale features (cosine transforms, not learned); not LPIPS",
}


def evaluate(
    codec: Codec,
    source: Source,
    out: Path,
    *,
    clips: int,
    fit_clips: int,
    shapes: Sequence[Shape] = (),
    video: str = "",
    shape_clips: int = 4,
    tile: int = 0,
    features: tuple[str, Weights] = (MULTISCALE, {}),
) -> dict:
    """The report but for streaming; writes the pictures. Raises ConfigError, see the flags."""
    of_shape = clips_of_video(video, shape_clips) if video else clips_of_source(source, shape_clips)
    for shape in shapes:
        of_shape(shape)  # fails early
    if tile:
        Codec(codec.cfg, codec.compute, codec.params, tile=tile, overlap=overlap_of(codec, tile))
    rows = held_out(source, clips)
    scorer = Scorer(codec, fit_codes(source, codec, fit_clips), features)
    scored = [scorer.score(clip) for clip in read(source, rows, "held-out clips scored")]
    check(bool(scored), "--data", "", "at least one held-out clip that can be read")
    by_name = {source.catalog.ids[row]: row for row in rows}
    shown = (read_one(source, by_name[one.name]) for one in choose(scored))
    out.mkdir(parents=True, exist_ok=True)
    frechet = scorer.frechet()
    coders = {name: row | {"frechet": frechet[name]} for name, row in means(scored).items()}
    report = {
        "features": {"perceptual": PERCEPTUAL[scorer.perceptual], "frechet": RANDOM_FEATURES},
        "counts": counts(scored, min(fit_clips, int((source.catalog.split == "train").sum()))),
        "coders": coders,
        "bins": bins(scored),
        "clips": [clip_report(one) for one in scored],
        "pictures": write_pictures(out, ((x, codec.reconstruct(x.frames, x.fps)) for x in shown)),
    }
    pca = scorer.linear_codes["PCA"]
    report["shapes"] = [
        one._asdict() | {"shape": str(one.shape)}
        for one in (score_shapes(codec, pca, shapes, of_shape) if shapes else [])
    ]
    if shapes:
        tiled = of_shape(shapes[-1])[0]
    else:
        largest = max(scored, key=lambda one: math.prod(one.size))
        tiled = read_one(source, by_name[largest.name])
    report["seams"] = seams(codec, tiled, tile)
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


def seams(codec: Codec, clip: Clip, tile: int) -> dict | None:
    """`score_seams` with two tiles along the longer side, unless a tile is given.

    None if the frame is too small for tiles.
    """
    _, height, width, _ = clip.frames.shape
    patch, side = max(codec.cfg.patch[1:]), max(height, width)
    if not tile and side < SMALLEST_TILED * patch:
        return None
    if tile:
        overlap = overlap_of(codec, tile)
    else:
        cells = -(-side // patch)
        overlap = max(cells // 8, 1)
        tile, overlap = -(-(cells + overlap) // 2) * patch, overlap * patch
    name = f"{clip.name}: {width}×{height}, {len(clip.frames)} frames"
    return {"clip": name} | score_seams(codec, clip, tile, overlap)


def overlap_of(codec: Codec, tile: int) -> int:
    """The pixels that tiles of this side share: about a quarter, in whole patches."""
    patch = max(codec.cfg.patch[1:])
    return max(tile // 4 // patch, 1) * patch


def measure_streaming(codec: Codec, size: str, memory: dict) -> dict:
    """Time a frame beside the memory that was measured before."""
    print("time of streaming", flush=True)
    return {
        "size": size,
        "seconds_per_frame": seconds_per_frame(codec, size=parse_size(size)),
        "peak_memory": memory,
    }


def memory_of_streaming(workdir: str, size: str) -> dict[int, dict[str, int]]:
    """In processes of their own, before this one takes the device."""
    parse_size(size)
    found = {}
    for frames in MEMORY_FRAMES:
        print(f"memory of streaming {frames} frames", flush=True)
        found[frames] = peak_memory(workdir, frames, size)
    return found


def open_data(data: str) -> Source:
    """A source of clips whose folder holds its tokenizer. Raises ConfigError."""
    tokenizer = open_tokenizer(SYNTHETIC if data == SYNTHETIC else data)
    return open_source(DataConfig(catalog=data), tokenizer)


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
    features = read_features(args.lpips or MULTISCALE, "--lpips")
    source = open_data(args.data)
    memory = memory_of_streaming(args.workdir, args.stream_size) if args.streaming else {}
    codec, out = Codec.read(args.workdir), Path(args.out)
    cfg = codec.cfg
    about = {
        "workdir": args.workdir,
        "size": cfg.size,
        "patch": cfg.patch,
        "channels": cfg.channels,
    }
    report = {"autoencoder": about, "data": args.data} | evaluate(
        codec,
        source,
        out,
        clips=args.clips,
        fit_clips=args.fit_clips,
        shapes=shapes,
        video=args.video,
        shape_clips=args.shape_clips,
        tile=args.tile,
        features=features,
    )
    if args.streaming:
        report["streaming"] = measure_streaming(codec, args.stream_size, memory)
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
    flags.DEFINE_string("data", None, "folder of clips, or 'synthetic'", required=True)
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
    flags.DEFINE_string("stream_size", "64x64", "WIDTHxHEIGHT of streamed frames")
    app.run(main)
