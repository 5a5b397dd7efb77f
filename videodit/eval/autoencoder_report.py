"""The report on an autoencoder: how good it is on held-out clips, beside other codes.

`python -m tools.evaluate_autoencoder` is the command; autoencoder_page.py makes the page.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from videodit.checkpoint import read_config
from videodit.config import MULTISCALE, AutoencoderConfig, ConfigError, DataConfig
from videodit.curation.cuts import Shape
from videodit.curation.latents import tokenizer_of
from videodit.data import patches
from videodit.data.sources.source import Source, open_source, open_tokenizer
from videodit.eval.autoencoder_page import choose, page, write_pictures
from videodit.eval.frechet import RANDOM_FEATURES
from videodit.eval.scores import (
    HELD_OUT,
    TRAINING,
    HeldOutClip,
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
from videodit.inference.codec import Codec
from videodit.tasks.autoencoder import AutoencoderTask
from videodit.tasks.registry import expect_task

PERCEPTUAL = {  # descriptions by the name of the features, see models/perceptual.py
    "lpips": "LPIPS, VGG-16",
    "multiscale": "multiscale features (cosine transforms, not learned); not LPIPS",
}


class Sample(NamedTuple):
    """The clips that an evaluation looks at."""

    rows: list[int]  # held-out clips
    training: list[int]  # rows of clips that the baselines are fitted to
    shapes: Sequence[Shape]
    of_shape: Callable[[Shape], list[HeldOutClip]]
    tiled: HeldOutClip
    tiles: Tiles | None  # None: the clip is too small for two tiles


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
    """Chooses the clips that the command's flags of these names ask for.

    The clip that is coded in tiles is one of the last shape, else the largest one. Raises
    ConfigError if the source or the video lacks what is asked for.
    """
    rows = rows_of(source.catalog, HELD_OUT, clips)
    training = rows_of(source.catalog, TRAINING, fit_clips)
    of_shape = clips_of_video(video, shape_clips) if video else clips_of_source(source, shape_clips)
    firsts = [of_shape(shape)[0] for shape in shapes]
    tiled = firsts[-1] if firsts else largest(source, rows)
    height, width = tiled.frames.shape[1:3]
    tiles = tiles_of(patch, (height, width), tile)
    return Sample(rows, training, shapes, of_shape, tiled, tiles)


def largest(source: Source, rows: Sequence[int]) -> HeldOutClip:
    """The readable clip with the most pixels. Raises ConfigError if no clip can be read."""
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
    features: tuple[str, Mapping[str, Any]] = (MULTISCALE, {}),
) -> dict[str, Any]:
    """The report without streaming; writes the pictures into the folder `out`.

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
    return {
        "features": {"perceptual": PERCEPTUAL[scorer.perceptual], "frechet": RANDOM_FEATURES},
        "counts": counts(scored, len(sample.training)),
        "coders": coders,
        "bins": bins(scored),
        "clips": [clip_report(one) for one in scored],
        "pictures": write_pictures(out, ((x, codec.reconstruct(x.frames, x.fps)) for x in shown)),
        "shapes": shapes_report(scorer, sample),
        "seams": seams(codec, sample.tiled, sample.tiles) if sample.tiles else None,
    }


def shapes_report(scorer: Scorer, sample: Sample) -> list[dict[str, Any]]:
    """The fields of `ShapeScore` for each shape of the sample."""
    if not sample.shapes:
        return []
    pca = scorer.linear_codes["PCA"]
    found = score_shapes(scorer.codec, pca, sample.shapes, sample.of_shape)
    return [one._asdict() | {"shape": str(one.shape)} for one in found]


def counts(scored: list[Scored], fitted: int) -> dict[str, int]:
    """How many clips, frames, pixels and latent values were scored; clips fitted to."""
    return {
        "clips": len(scored),
        "frames": sum(one.size[0] for one in scored),
        "pixels": sum(math.prod(one.size) for one in scored),
        "latent_values": sum(one.latent_values for one in scored),
        "fitted_clips": fitted,
    }


def bins(scored: list[Scored]) -> list[dict[str, Any]]:
    """Mean scores by resolution and duration, small and short clips first."""
    found: dict[tuple[int, int], list[Scored]] = {}
    for one in scored:
        found.setdefault(bin_of(one.size), []).append(one)
    return [
        {"bin": bin_name(number), "clips": len(found[number]), "coders": means(found[number])}
        for number in sorted(found)
    ]


def clip_report(one: Scored) -> dict[str, Any]:
    """The report's entry of one clip."""
    frames, height, width = one.size
    about = {"id": one.name, "width": width, "height": height, "frames": frames}
    return about | {"latent_values": one.latent_values, "coders": one.scores}


def seams(codec: Codec, clip: HeldOutClip, tiles: Tiles) -> dict[str, Any]:
    """`score_seams` of a clip, with the clip's name and size."""
    frames, height, width, _ = clip.frames.shape
    name = f"{clip.name}: {width}×{height}, {frames} frames"
    return {"clip": name} | score_seams(codec, clip, tiles)


def read_about(workdir: str) -> AutoencoderConfig:
    """The config of the autoencoder in a workdir. Raises ConfigError naming --workdir."""
    cfg = read_config(workdir, "--workdir")
    expect_task(cfg, AutoencoderTask, "--workdir", workdir)
    return cfg.autoencoder


def open_data(data: str, workdir: str) -> Source:
    """Opens a source of clips, with its own tokenizer or else the autoencoder's.

    Raises ConfigError naming --data.
    """
    tokenizer = open_tokenizer(tokenizer_of(data, workdir), "--workdir")
    try:
        return open_source(DataConfig(catalog=data), tokenizer)
    except ConfigError as error:  # which names the config's field
        raise ConfigError(str(error).replace("data.catalog=", "--data=")) from error


def write(out: Path, report: dict[str, Any]) -> None:
    """Writes report.json, in which a measure that does not exist is null, and report.html."""
    (out / "report.json").write_text(json.dumps(_without_nan(report), indent=2) + "\n")
    (out / "report.html").write_text(page(out, report), encoding="utf-8")


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value
