"""Raw videos to a dataset: shards of encoded clips, their catalog, and a tokenizer.

    python -m tools.curate --input=FILE_OR_FOLDER --out=FOLDER --shapes=96x56x17@12,96x56x1

A shape is WIDTHxHEIGHTxFRAMES[@FPS]; 1 frame is an image; without FPS, the film's own rate. Every
shape cuts each shot on its own, so a moment may be in several clips of different shapes. Films are
cropped around the centre and made smaller, never larger.

Shots and captions come from VIDEO.jsonl beside VIDEO.mp4, one shot a line: {"start": first frame,
"end": frame after the last, "fps": the film's, "caption": TEXT}, or "captions": [TEXT, ...]. A film
without that file is one shot, and each of its clips is described by what can be measured.

The end of each long shot is kept for validation, the same moments for every shape. Run again, and
the films that are done are not cut again.
"""

import hashlib
import os
from collections import Counter, deque
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from absl import app, flags

from videodit.config import ConfigError, check, refuse
from videodit.curation.cuts import (
    Cut,
    Film,
    Shape,
    check_shapes,
    parse_shapes,
    plan_all,
    read_films,
)
from videodit.curation.describe import describe
from videodit.data.sources.catalog import Catalog
from videodit.data.sources.shards import (
    Progress,
    is_finished,
    pick_tokenizer,
    read_rows,
    write_catalog,
    write_shard,
)
from videodit.data.video.cropping import cropper
from videodit.data.video.files import CLIP_OPTIONS, decode


def curate(
    videos: str | os.PathLike,
    out: str | os.PathLike,
    shapes: list[Shape],
    *,
    val_fraction: float = 0.15,
    vocab_size: int = 512,
    tokenizer: str = "",
    max_clips: int = 0,
) -> Catalog:
    """Cuts a video, or all videos of a folder, into the dataset `out`; returns its catalog.

    `val_fraction`: of each shot's time, at its end. `tokenizer`: a folder with one to use; "" keeps
    the one in `out` or trains one of `vocab_size` tokens. `max_clips`: stop there; 0 is no limit.
    A video that cannot be read is named and left out. Raises ConfigError if no clip comes out.
    """
    check(0 <= val_fraction < 1, "val_fraction", val_fraction, "at least 0 and below 1")
    out = Path(out)
    broken: dict[Path, str] = {}
    films = read_films(Path(videos), broken)
    check_shapes(shapes, films)
    jobs = plan_all(films, shapes, val_fraction, max_clips)
    rows = []
    progress = Progress(sum(cuts[-1].frames[-1] + 1 for _, cuts in jobs), "frames")
    for film, cuts in jobs:
        try:
            rows += film_rows(film, cuts, out, progress)
        except ConfigError as error:
            broken[film.path] = str(error)
            print(f"left out: {error}", flush=True)
    if not rows:
        reasons = "; ".join(list(broken.values())[:3]) or "the shots are shorter than every shape"
        raise ConfigError(f"{videos}: no clip could be made of {len(films)} videos: {reasons}")
    catalog = write_catalog(out, rows, pick_tokenizer(tokenizer, out, rows, vocab_size))
    summarize(catalog, rows, broken, out)
    return catalog


def film_rows(film: Film, cuts: list[Cut], out: Path, progress: Progress) -> list[dict]:
    """Catalog rows of a film's clips; the film is decoded unless `out` has just these clips.

    Other cuts make another shard, so an older catalog stays valid.
    """
    recipe = repr((film.path.stat().st_size, CLIP_OPTIONS, cuts))
    name = f"{film.name}-{hashlib.sha256(recipe.encode()).hexdigest()[:8]}"
    if is_finished(out, name):
        progress.skip(cuts[-1].frames[-1] + 1)
        return read_rows(out, name)
    clips = extract(film, cuts, progress)
    return write_shard(out, name, ((frames, clip_row(film, cut, frames)) for cut, frames in clips))


def clip_row(film: Film, cut: Cut, frames: np.ndarray) -> dict:
    """What is known of a clip; its name tells film, first frame and shape."""
    return {
        "id": f"{film.name}/{cut.frames[0]:06d}/{cut.shape}",
        "shape": cut.shape,
        "fps": cut.fps,
        "captions": cut.captions or [describe(frames, cut.fps)],
        "split": cut.split,
    }


def extract(film: Film, cuts: list[Cut], progress: Progress) -> Iterator[tuple[Cut, np.ndarray]]:
    """Each cut with its frames (uint8 T H W 3), in the order in which they are complete.

    The film is decoded once, from start to end; only frames that a cut wants are scaled.
    """
    waiting, under_way, crops = deque(cuts), [], {}
    for i, frame in enumerate(decode(film.path, threads=0)):
        progress.advance()
        while waiting and waiting[0].frames[0] == i:
            under_way.append((waiting.popleft(), []))
        for cut, frames in under_way:
            if cut.frames[len(frames)] == i:
                size = cut.shape[:2]
                if size not in crops:
                    crops[size] = cropper(frame, *size)
                frames.append(crops[size](frame))
        for cut, frames in under_way:
            if len(frames) == len(cut.frames):
                yield cut, np.stack(frames)
        under_way = [job for job in under_way if len(job[1]) < len(job[0].frames)]
        if not (waiting or under_way):
            return


def summarize(catalog: Catalog, rows: list[dict], broken: dict[Path, str], out: Path) -> None:
    """Prints what came out: clips of each shape and split, hours, bytes, what was left out."""
    counts = Counter((str(Shape(*row["shape"])), row["split"]) for row in rows)
    print(f"{'shape':>18} {'train':>8} {'val':>8}")
    for shape in dict.fromkeys(shape for shape, _ in counts):
        print(f"{shape:>18} {counts[shape, 'train']:8d} {counts[shape, 'val']:8d}")
    moving = catalog.frames > 1
    hours = (catalog.frames / catalog.fps)[moving].sum() / 3600
    megabytes = sum(row["bytes"] for row in rows) / 1e6
    print(
        f"{len(catalog)} clips ({hours:.2f} hours of video, {(~moving).sum()} images, "
        f"{megabytes:.1f} MB) from {len(set(catalog.shard))} videos are in {out}"
    )
    if broken:
        print(f"{len(broken)} videos were left out: {', '.join(map(str, list(broken)[:5]))}")


def main(_) -> None:
    """Runs the command line; a ConfigError is printed without a traceback, exit status 2."""
    args = flags.FLAGS
    try:
        curate(
            args.input,
            args.out,
            parse_shapes(args.shapes),
            val_fraction=args.val_fraction,
            vocab_size=args.vocab_size,
            tokenizer=args.tokenizer,
            max_clips=args.max_clips,
        )
    except ConfigError as error:
        refuse(error)


if __name__ == "__main__":
    flags.DEFINE_string("input", None, "a video, or a folder of videos", required=True)
    flags.DEFINE_string("out", None, "folder of the dataset", required=True)
    flags.DEFINE_string("shapes", None, "WIDTHxHEIGHTxFRAMES[@FPS],...", required=True)
    flags.DEFINE_float("val_fraction", 0.15, "of each shot's time, kept for validation")
    flags.DEFINE_integer("vocab_size", 512, "most tokens of a tokenizer trained on the captions")
    flags.DEFINE_string("tokenizer", "", "folder with the tokenizer.model to use instead")
    flags.DEFINE_integer("max_clips", 0, "stop after this many clips; 0 is no limit")
    app.run(main)
