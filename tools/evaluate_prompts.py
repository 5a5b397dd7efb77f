"""Measures whether a text-to-video run makes what its prompts say.

    python -m tools.evaluate_prompts --workdir=runs/world/dit --data=runs/world/data --out=FOLDER

Generates a clip for the short captions of --clips held-out clips of a dataset of tools.make_worlds,
and lets the world's detector read them (videodit/eval/prompts.py). Into FOLDER it writes

    prompts.json   by kind of slot: the claimed slots, the share that is right, and that by chance;
                   the ceilings, which are the true clips and the codec's reconstructions of them;
                   and how coherent the clips are beside the true ones (videodit/eval/coherence.py)
    sheet.png      the first, middle and last frame of the first clips, above their prompts
    clips/         the clips, and index.json with their prompts
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags
from PIL import Image

from videodit.config import check
from videodit.data.progress import Progress
from videodit.data.sources.source import ArrayRecordSource
from videodit.data.video.files import write_video
from videodit.entry import run_command
from videodit.eval.coherence import differences
from videodit.eval.prompts import ALL, Prompt, following, read_prompts, true_clips
from videodit.eval.sheet import draw
from videodit.folders import make_folder
from videodit.inference.codec import Codec
from videodit.inference.pipeline import Pipeline

SHEET_CLIPS, SHEET_COLUMNS, SHEET_FRAME = 24, 4, (72, 72)  # of sheet.png


def evaluate_prompts(
    workdir: str, data: str, split: str, count: int, **sample: Any
) -> tuple[dict[str, Any], list[Prompt], list[np.ndarray]]:
    """The content of prompts.json, the prompts, and the generated clips (T H W 3 uint8).

    `sample`: fields of SampleConfig in place of the run's. Raises ConfigError.
    """
    check(count >= 2, "clips", count, "at least 2")
    source = ArrayRecordSource(data)
    prompts = read_prompts(source, data, split, count)
    requests = [prompt.request for prompt in prompts]
    pipeline = Pipeline.read(workdir, requests=requests, **sample)
    cfg, progress, made = pipeline.cfg, Progress(len(requests), "clips"), {}
    for index, clip in pipeline(requests):
        made[index] = clip
        progress.advance()
    clips, real = [made[i] for i in range(len(requests))], true_clips(prompts, source)
    codec = Codec.read(cfg.autoencoder.workdir, "autoencoder.workdir")
    rebuilt = [codec.reconstruct(clip, p.request.fps) for clip, p in zip(real, prompts)]
    named = {"generated": clips, "reconstructed": rebuilt, "true": real}
    seen = {name: differences(some, cfg.autoencoder.patch) for name, some in named.items()}
    report = {
        "workdir": workdir,
        "data": data,
        "split": split,
        "clips": len(prompts),
        "sample": {name: getattr(cfg.sample, name) for name in ("solver", "steps", "guidance")},
        "following": {
            name: {kind: s.figures() for kind, s in following(prompts, some).items()}
            for name, some in named.items()
        },
        "differences": {name: found._asdict() for name, found in seen.items()},
        "differences_ratio": seen["generated"].ratio(seen["true"])._asdict(),
    }
    return report, prompts, clips


def format_report(report: dict[str, Any]) -> str:
    """prompts.json as a table."""
    tables = report["following"]
    columns = ("claimed", "right", "by chance", "reconstructed", "true")
    lines = [f"{'':16}" + "".join(f"{column:>15}" for column in columns)]
    for kind in sorted(tables["generated"], key=lambda kind: (kind == ALL, kind)):
        made = tables["generated"][kind]
        shares = [made["right"], made["chance"]]
        shares += [tables[name][kind]["right"] for name in ("reconstructed", "true")]
        cells = "".join(f"{share:15.1%}" for share in shares)
        lines.append(f"{kind:16}{made['claimed']:15d}{cells}")
    across, inside = (report["differences_ratio"][name] for name in ("across", "inside"))
    lines.append(f"differences across tokens {across:.2f}x, inside {inside:.2f}x the true clips'")
    return "\n".join(lines)


def sheet(prompts: list[Prompt], clips: list[np.ndarray]) -> Image.Image:
    """The first clips, with their prompts."""
    shown = [(clip, prompt.request.prompt) for prompt, clip in zip(prompts, clips)][:SHEET_CLIPS]
    starts = range(0, len(shown), SHEET_COLUMNS)
    return draw([("", shown[i : i + SHEET_COLUMNS]) for i in starts], SHEET_FRAME)


def write(out: Path, report: dict[str, Any], prompts: list[Prompt], clips: list) -> None:
    """Writes the files that the file's docstring lists."""
    (out / "clips").mkdir(parents=True, exist_ok=True)
    index = []
    for i, (prompt, clip) in enumerate(zip(prompts, clips)):
        write_video(out / "clips" / f"{i:04d}.mp4", clip, prompt.request.fps)
        index.append({"file": f"{i:04d}.mp4", "prompt": prompt.request.prompt})
    (out / "clips" / "index.json").write_text(json.dumps(index, indent=2) + "\n")
    sheet(prompts, clips).save(out / "sheet.png")
    (out / "prompts.json").write_text(json.dumps(report, indent=2) + "\n")


def main(_: list[str]) -> None:
    """Runs the command line. Raises ConfigError."""
    args = flags.FLAGS
    out = make_folder(args.out, "--out")
    asked = {name: getattr(args, name) for name in ("steps", "guidance")}
    asked = {name: value for name, value in asked.items() if value is not None}
    found = evaluate_prompts(args.workdir, args.data, args.split, args.clips, **asked)
    write(out, *found)
    print(format_report(found[0]))


if __name__ == "__main__":
    flags.DEFINE_string("workdir", None, "a trained diffusion run", required=True)
    flags.DEFINE_string("data", None, "a dataset of tools.make_worlds", required=True)
    flags.DEFINE_string("split", "test", "whose captions are the prompts: val, test, combinations")
    flags.DEFINE_integer("clips", 96, "number of prompts")
    flags.DEFINE_integer("steps", None, "of the sampler; default: as the run's config says")
    flags.DEFINE_float("guidance", None, "default: as the run's config says")
    flags.DEFINE_string("out", None, "folder of the report", required=True)
    run_command(main)
