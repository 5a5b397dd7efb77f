"""Videos to a dataset: every clip is cut out, scaled, described and encoded into shards.

`python -m tools.curate` is the command; videodit/curation/cuts.py decides what is cut.
"""

import hashlib
import os
from collections import Counter, deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np

from videodit.config import ConfigError, check
from videodit.curation.cuts import (
    VAL_SECONDS,
    Cut,
    Film,
    Shape,
    check_shapes,
    list_all_cuts,
    read_films,
)
from videodit.curation.describe import describe
from videodit.data.progress import Progress
from videodit.data.sources.catalog import Catalog
from videodit.data.sources.shards import (
    is_finished,
    pick_tokenizer,
    read_rows,
    write_catalog,
    write_shard,
)
from videodit.data.video.cropping import cropper
from videodit.data.video.files import CLIP_OPTIONS, EDITION, frames_at
from videodit.files import shown_name


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

    The last `val_fraction` of each shot's time is held out for validation. `tokenizer` names a
    folder with a tokenizer.model; "" keeps the one in `out`, or trains one of `vocab_size` tokens.
    `max_clips` bounds the number of clips; 0 is no bound. A video that cannot be read is named and
    left out. Raises ConfigError if no clip comes out.
    """
    check(0 <= val_fraction < 1, "val_fraction", val_fraction, "at least 0 and below 1")
    out = Path(out)
    broken: dict[Path, str] = {}
    films = read_films(Path(videos), broken)
    check_shapes(shapes, films)
    rows = _cut_films(list_all_cuts(films, shapes, val_fraction, max_clips), out, broken)
    if not rows:
        reasons = "; ".join(list(broken.values())[:3]) or "the shots are shorter than every shape"
        raise ConfigError(f"{videos}: no clip could be made of {len(films)} videos: {reasons}")
    catalog = write_catalog(out, rows, pick_tokenizer(tokenizer, out, rows, vocab_size))
    summarize(catalog, rows, broken, out)
    return catalog


def _cut_films(
    jobs: list[tuple[Film, list[Cut]]], out: Path, broken: dict[Path, str]
) -> list[dict[str, Any]]:
    """The catalog rows of all clips. Films that cannot be decoded are added to `broken`."""
    rows = []
    progress = Progress(sum(len(_frames(cuts)) for _, cuts in jobs), "frames")
    for film, cuts in jobs:
        try:
            rows += film_rows(film, cuts, out, progress)
        except ConfigError as error:
            broken[film.path] = str(error)
            print(f"left out: {error}", flush=True)
    return rows


def film_rows(film: Film, cuts: list[Cut], out: Path, progress: Progress) -> list[dict[str, Any]]:
    """Catalog rows of a film's clips; the film is decoded unless `out` has just these clips.

    Other cuts of the same film go into another shard, so an older catalog stays valid.
    """
    recipe = repr((film.path.stat().st_size, EDITION, CLIP_OPTIONS, cuts))
    name = f"{film.name}-{hashlib.sha256(recipe.encode()).hexdigest()[:8]}"
    if is_finished(out, name):
        progress.skip(len(_frames(cuts)))
        return read_rows(out, name)
    clips = extract(film, cuts, progress)
    return write_shard(out, name, ((frames, clip_row(film, cut, frames)) for cut, frames in clips))


def clip_row(film: Film, cut: Cut, frames: np.ndarray) -> dict[str, Any]:
    """What is known of a clip. Its id tells the film, the first frame and the shape."""
    return {
        "id": f"{film.name}/{int(cut.frames[0]):06d}/{cut.shape}",
        "shape": cut.shape,
        "fps": cut.fps,
        "captions": cut.captions or [describe(frames, cut.fps)],
        "split": cut.split,
    }


def extract(film: Film, cuts: list[Cut], progress: Progress) -> Iterator[tuple[Cut, np.ndarray]]:
    """Yields each cut with its frames (uint8 T H W 3), in the order in which they are complete.

    The film is decoded once, from start to end; only frames that a cut wants are scaled.
    """
    wanted = _frames(cuts)
    waiting = deque(cuts)
    under_way: list[tuple[Cut, list[np.ndarray]]] = []
    crops: dict[tuple[int, int], Callable[[av.VideoFrame], np.ndarray]] = {}
    pictures = frames_at(film.path, wanted, film.info.fps, threads=0)
    for k, (frame, aspect) in zip(wanted, pictures):
        progress.advance()
        while waiting and waiting[0].frames[0] == k:
            under_way.append((waiting.popleft(), []))
        for cut, frames in under_way:
            if cut.frames[len(frames)] == k:
                size = cut.shape.width, cut.shape.height
                if size not in crops:
                    crops[size] = cropper(frame, *size, aspect)
                frames.append(crops[size](frame))
        for cut, frames in under_way:
            if len(frames) == len(cut.frames):
                yield cut, np.stack(frames)
        under_way = [job for job in under_way if len(job[1]) < len(job[0].frames)]


def _frames(cuts: list[Cut]) -> list[float]:
    """The frames of a film that some cut wants, ascending."""
    return sorted({k for cut in cuts for k in cut.frames})


def summarize(
    catalog: Catalog, rows: list[dict[str, Any]], broken: dict[Path, str], out: Path
) -> None:
    """Prints what came out: clips of each shape and split, hours, bytes, and what was left out."""
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
    if not (catalog.split == "val").any():
        print(
            "no clip is held out for validation: the share --val_fraction of each shot is shorter "
            f"than {VAL_SECONDS} s or than every shape"
        )
    if broken:
        print(f"{len(broken)} videos were left out: {', '.join(map(shown_name, list(broken)[:5]))}")
