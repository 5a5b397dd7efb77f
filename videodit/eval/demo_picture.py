"""A demo in one picture: three rows of clips, each shown by its first, middle and last frame.

The rows are validation clips of the film, the autoencoder's reconstructions of them, and clips
generated from text. `python -m tools.picture` is the command.
"""

import itertools
from collections.abc import Iterable
from pathlib import Path

from videodit.config import ConfigError
from videodit.data.video.files import read_frames
from videodit.eval.sheet import Clip, Row
from videodit.eval.training import Training
from videodit.files import read_records

CLIPS = 3  # in a row
FRAME = (144, 84)  # width, height in pixels of a frame in the picture


def rows(run: Path) -> list[Row]:
    """The titled rows of clips. Raises ConfigError naming what the run lacks."""
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
    return [
        ("film (validation clips)", moving_clips(originals)),
        ("reconstructed by the autoencoder", moving_clips(rebuilt)),
        ("generated from text", moving_clips((file, text) for text, file in generated.items())),
    ]


def moving_clips(files: Iterable[tuple[Path, str]]) -> list[Clip]:
    """The first CLIPS videos that have several frames."""
    clips = ((read_frames(file), caption) for file, caption in files)
    return list(itertools.islice(((x, caption) for x, caption in clips if len(x) > 1), CLIPS))
