"""A demo in one picture: three rows of clips, each shown by its first, middle and last frame.

The rows are validation clips of the film, the autoencoder's reconstructions of them, and clips
generated from text. `python -m tools.picture` is the command.
"""

import itertools
import textwrap
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from videodit.config import ConfigError
from videodit.data.video.files import read_frames
from videodit.eval.training import Training
from videodit.files import read_records

CLIPS = 3  # in a row, three frames of each
FRAME = (144, 84)  # width, height in pixels of a frame in the picture
GAP, TITLE, CAPTION = 12, 22, 34  # pixels between clips, and heights of a title and a caption

TitledClip = tuple[np.ndarray, str]  # T H W 3, caption


def rows(run: Path) -> dict[str, list[TitledClip]]:
    """The clips of each row by the row's title. Raises ConfigError naming what the run lacks."""
    draws = Training.read(run / "autoencoder").draws
    if not draws:
        raise ConfigError(f"{run}/autoencoder/draws: expected the drawings of a trained model")
    if not (run / "requests.jsonl").exists():
        raise ConfigError(f"{run}/requests.jsonl: expected the requests of a finished demo")
    items = sorted(draws[max(draws)], key=lambda item: item["clip"])
    originals = [(i["file"], i["caption"]) for i in items if i["role"] == "original"]
    rebuilt = [(i["file"], "") for i in items if i["role"] == "reconstruction"]
    generated: dict[str, Path] = {}  # the first video of each prompt
    for request in read_records(run / "requests.jsonl", {"prompt": str, "out": str}):
        generated.setdefault(request["prompt"], run / "samples" / request["out"])
    return {
        "film (validation clips)": moving_clips(originals),
        "reconstructed by the autoencoder": moving_clips(rebuilt),
        "generated from text": moving_clips((file, text) for text, file in generated.items()),
    }


def moving_clips(files: Iterable[tuple[Path, str]]) -> list[TitledClip]:
    """The first CLIPS videos that have several frames."""
    clips = ((read_frames(file), caption) for file, caption in files)
    return list(itertools.islice(((x, caption) for x, caption in clips if len(x) > 1), CLIPS))


def draw(rows: dict[str, list[TitledClip]]) -> Image.Image:
    """The picture of these rows of clips, given by title."""
    heights = [
        TITLE + FRAME[1] + GAP + CAPTION * any(caption for _, caption in clips)
        for clips in rows.values()
    ]
    size = CLIPS * (3 * FRAME[0] + GAP) + GAP, sum(heights) + GAP
    picture = Image.new("RGB", size, "white")
    pen, large, small = ImageDraw.Draw(picture), *map(ImageFont.load_default, (15, 12))
    for row, (title, clips) in enumerate(rows.items()):
        top = GAP + sum(heights[:row])
        pen.text((GAP, top), title, fill="black", font=large)
        for column, (frames, caption) in enumerate(clips):
            left = GAP + column * (3 * FRAME[0] + GAP)
            for i, frame in enumerate((frames[0], frames[len(frames) // 2], frames[-1])):
                image = ImageOps.pad(Image.fromarray(frame), FRAME, color="white")
                picture.paste(image, (left + i * FRAME[0], top + TITLE))
            place = (left, top + TITLE + FRAME[1] + 3)
            pen.text(place, textwrap.fill(caption, 68), fill="#475569", font=small)
    return picture
