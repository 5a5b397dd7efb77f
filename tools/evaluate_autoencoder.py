"""How good an autoencoder is on held-out clips, beside other codes of as many values.

    python -m tools.evaluate_autoencoder --workdir=runs/autoencoder --data=DATA --out=report \\
      --shapes=128x128x17,256x256x129 --video=FILM.mp4

Writes OUT/report.html (all in one file), OUT/report.json, and pictures and videos of some clips.
"""

from typing import Any

from absl import flags
from absl import logging as absl_logging

from videodit.config import MULTISCALE, check, parse_size
from videodit.curation.cuts import parse_shapes
from videodit.entry import run_command
from videodit.eval.autoencoder_report import (
    choose_sample,
    evaluate,
    open_data,
    read_about,
    write,
)
from videodit.eval.streaming import measure_streaming, memory_of_streaming
from videodit.folders import make_folder
from videodit.inference.codec import Codec
from videodit.models.perceptual import read_features


def run(args: Any) -> None:
    """Evaluates and writes what the flags `args` ask for. Raises ConfigError."""
    for name in ("clips", "fit_clips", "shape_clips"):
        check(getattr(args, name) >= 1, f"--{name}", getattr(args, name), "at least 1")
    check(bool(args.shapes) or not args.video, "--video", args.video, "--shapes to cut out of it")
    shapes = parse_shapes(args.shapes) if args.shapes else []
    width, height = parse_size(args.stream_size, "--stream_size")
    features = read_features(args.lpips or MULTISCALE, "--lpips")
    cfg, out = read_about(args.workdir), make_folder(args.out, "--out")
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
    about = {"workdir": args.workdir}
    about |= {name: getattr(cfg, name) for name in ("size", "patch", "channels")}
    report = {"autoencoder": about, "data": args.data}
    report |= evaluate(codec, source, sample, out, features)
    if args.streaming:
        report["streaming"] = measure_streaming(codec, (height, width), memory)
    write(out, report)
    for name, row in report["coders"].items():
        psnr, ssim, flicker = (row[key] for key in ("psnr", "ssim", "flicker"))
        print(f"{name:12} {psnr:6.2f} dB  SSIM {ssim:.4f}  flicker {flicker:.2f}")
    print(f"Wrote {out / 'report.html'}")


def main(_: list[str]) -> None:
    """Runs the command line. Raises ConfigError."""
    absl_logging.set_verbosity(absl_logging.WARNING)
    run(flags.FLAGS)


if __name__ == "__main__":
    flags.DEFINE_string("workdir", "runs/autoencoder", "folder of the autoencoder's run")
    flags.DEFINE_string("data", None, "a source of clips, as in data.catalog", required=True)
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
    run_command(main)
