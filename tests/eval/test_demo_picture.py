import json

import numpy as np
import pytest

from videodit.config import ConfigError
from videodit.data.video.files import write_video
from videodit.eval import demo_picture as picture


def test_the_rows_show_clips_in_order(tmp_path):
    draws = tmp_path / "autoencoder" / "draws" / "000010"
    draws.mkdir(parents=True)
    (tmp_path / "samples").mkdir()
    colors = {"original": (200, 40, 40), "reconstruction": (40, 200, 40)}
    items = []
    for role, color in colors.items():
        for clip, (height, width) in {"1": (96, 56), "2": (56, 96)}.items():
            file = f"{clip}_{role}.mp4"
            write_video(draws / file, np.full((5, height, width, 3), color, np.uint8), 12)
            items.append({"file": file, "caption": "a wall", "role": role, "clip": clip})
    (draws / "index.json").write_text(json.dumps(items))
    blue = np.full((5, 56, 96, 3), (40, 40, 200), np.uint8)
    write_video(tmp_path / "samples" / "x.mp4", blue, 12)
    (tmp_path / "requests.jsonl").write_text(json.dumps({"prompt": "a wall", "out": "x.mp4"}))

    rows = picture.rows(tmp_path)
    assert [len(clips) for _, clips in rows] == [2, 2, 1]
    assert [caption for _, clips in rows for _, caption in clips] == [
        "a wall",
        "a wall",
        "",
        "",
        "a wall",
    ]
    means = [frames[0].mean((0, 1)) for _, clips in rows for frames, _ in clips[:1]]
    # chroma subsampling and rounding of the video move a color by a few levels
    np.testing.assert_allclose(means, [*colors.values(), (40, 40, 200)], atol=12)


def test_an_unfinished_run_is_refused_by_what_it_lacks(tmp_path):
    with pytest.raises(ConfigError, match="autoencoder/draws"):
        picture.rows(tmp_path)
