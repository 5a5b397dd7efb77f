"""Writes the clips that a task draws to the workdir, where people and reports find them."""

from collections.abc import Sequence
from pathlib import Path

import jax

from videodit.data.video.files import write_video
from videodit.files import write_json
from videodit.tasks.task import Drawing


def write_drawings(folder: Path, drawings: Sequence[Drawing]) -> None:
    """Writes an mp4 for each drawing, and index.json, which describes them; on process 0 only."""
    if not drawings or jax.process_index() != 0:
        return
    folder.mkdir(parents=True, exist_ok=True)
    index = []
    for drawing in drawings:
        file = f"{drawing.name}.mp4"
        write_video(folder / file, drawing.frames, drawing.fps)
        index.append(
            {"file": file, "caption": drawing.caption, "role": drawing.role, "clip": drawing.clip}
        )
    write_json(folder / "index.json", index)
