import re
import subprocess
import sys
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from packs import tiny_config
from PIL import Image

from videodit.data import packing, show
from videodit.data.planning.plan import Plan
from videodit.data.sources.source import open_source, open_tokenizer
from videodit.data.sources.synthetic import SyntheticSource, synthetic_tokenizer
from videodit.data.video.files import whole

PATCH = (4, 8, 8)


def test_a_step_is_drawn_as_the_plan_says(tmp_path):
    cfg = tiny_config(data__views__drop=((0, 0.8, 2.0, 2.0),))
    (step,) = show.steps(cfg, 3, 1, most_rows=8)
    show.write(step, PATCH, tmp_path)
    source = open_source(cfg.data, open_tokenizer(cfg.text.workdir))
    plan = Plan(source.catalog, cfg.data, cfg.seed, PATCH, source.parts)
    planned = [placed for row in plan.rows(3) for placed in row]
    clips = [clip for row in step.clips for clip in row]
    assert [clip.caption for clip in clips] == [
        source.catalog.captions[p.clip][p.caption] for p in planned
    ]
    assert [clip.kept.sum() for clip in clips] == [p.keep for p in planned]
    assert any(not clip.kept.all() for clip in clips)
    padding = 1 - sum(p.keep for p in planned) / (cfg.data.batch_rows * cfg.data.row_tokens)
    assert f"{padding:.2%}" in (tmp_path / "index.html").read_text()
    assert len(list(tmp_path.glob("row_*.png"))) == cfg.data.batch_rows
    with Image.open(tmp_path / "pack.png") as image:
        assert image.width == 1600


def one_clip(caption):
    """a batch of a synthetic clip of 9 frames that replaces a broken one, and its frames."""
    source, tokenizer = SyntheticSource(), synthetic_tokenizer()
    i = int(np.flatnonzero(source.catalog.frames == 9)[0])
    view = whole(9, int(source.catalog.height[i]), int(source.catalog.width[i]))
    frames = source.read(i, view)
    segment = packing.segment(
        frames, patch=PATCH, fps=8, text_ids=tokenizer.encode(caption), clip_id=i
    )
    batch = packing.empty_batch(1, 768, row_tokens=320, text_tokens=64, max_segments=4)
    packing.pack_row([segment], packing.row_of(batch, 0), patch=PATCH, replaced=[True])
    ((clip,),) = show.clips_of(batch, PATCH, tokenizer, source.catalog)
    return batch, frames, clip


def test_a_clip_is_unpacked_from_its_tokens():
    batch, frames, clip = one_clip("a red circle")
    np.testing.assert_array_equal(clip.frames, frames[::4, : 8 * batch.grids[0, 0, 1]])
    assert clip.replaced and clip.seconds == 0.5 and clip.kept.all() and not clip.given.any()
    size = "x".join(map(str, frames.shape[2:0:-1]))
    assert clip.title == f"{size}, 9 frames, 1.12 s · generate"


def test_the_page_escapes_captions_and_marks_broken_clips():
    batch, _, clip = one_clip("")
    caption = '<script>x & "y"</script>'
    clips = [clip._replace(caption=caption), clip._replace(replaced=False)]
    step = show.Step("Step 1", [], ["Row 0"], [packing.row_of(batch, 0)], [clips])
    page = show.page(step, [[Image.new("RGB", (8, 8))] * 2])
    assert "<script" not in page
    assert unescape(re.search('<p class="caption">(.*?)</p>', page)[1]) == caption
    assert page.count('<figure class="broken">') == 1
    assert not re.search(r'src="(?!data:)', page)


@pytest.mark.parametrize("args, message", [
    (["--config.data.catalog=/nowhere"], "data.catalog='/nowhere'"),
    (["--config.data.row_token=1"], "row_tokens"),
    (["extra"], "unexpected argument 'extra'"),
])  # fmt: skip
def test_wrong_input_is_one_message(tmp_path, args, message):
    command = [sys.executable, "-m", "videodit.data.show", "--config=configs/dit_xl.py:smoke"]
    result = subprocess.run(
        [*command, f"--out={tmp_path}", *args],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
    )
    assert result.returncode == 2
    assert message in result.stderr and "Traceback" not in result.stderr
    assert list(tmp_path.iterdir()) == []
