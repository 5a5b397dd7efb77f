import numpy as np
import pytest
from fake_world import COLORS, FakeWorld

from tools import make_worlds as tool
from videodit.config import ConfigError
from videodit.data.sources.source import ArrayRecordSource
from videodit.eval import prompts as module
from videodit.eval.prompts import ALL, PromptFollowing, following, read_prompts, true_clips
from videodit.worlds.clip_shapes import Shapes

WORLD = FakeWorld()
SHAPES = Shapes(sides=(32, 64), frames=(1, 9))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tool, "open_world", lambda name: WORLD)
        tool.make_worlds("fake", out, 120, SHAPES, workers=1, held_out=0.2)
    return str(out)


@pytest.fixture(autouse=True)
def fake(monkeypatch):
    monkeypatch.setattr(module, "open_world", lambda name: WORLD)


def painted(prompts, colors):
    """A clip of a square in a colour for each prompt."""
    clips = []
    for prompt, color in zip(prompts, colors):
        r = prompt.request
        clip = np.full((r.frames, r.height, r.width, 3), 128, np.uint8)
        clip[:, :8, :8] = COLORS[color]
        clips.append(clip)
    return clips


def test_prompts_are_those_of_held_out_clips_at_their_shapes(folder):
    source = ArrayRecordSource(folder)
    prompts = read_prompts(source, folder, "test", 10)
    assert len(prompts) == 10 and all(source.catalog.split[p.row] == "test" for p in prompts)
    for prompt, clip in zip(prompts, true_clips(prompts, source)):
        r = prompt.request
        assert clip.shape == (r.frames, r.height, r.width, 3)
        assert r.prompt == f"a {prompt.claims['a.color']} square"


def test_true_clips_follow_and_wrong_ones_do_not(folder):
    source = ArrayRecordSource(folder)
    prompts = read_prompts(source, folder, "test", 24)
    colors = [p.claims["a.color"] for p in prompts]
    table = following(prompts, true_clips(prompts, source))
    assert table[ALL] == table["*.color"]  # short captions claim nothing else
    assert table[ALL].figures()["right"] == 1 and table[ALL].claimed == 24
    # By chance: as often as one of the seven next prompts has the same colour.
    same = np.mean([[c == colors[(i + k) % 24] for k in range(1, 8)] for i, c in enumerate(colors)])
    assert table[ALL].figures()["chance"] == pytest.approx(same)
    turned = dict(zip(COLORS, [*list(COLORS)[1:], "red"]))
    wrong = following(prompts, painted(prompts, [turned[c] for c in colors]))
    assert wrong[ALL].right == 0


def test_a_run_measures_a_part_at_each_evaluation(folder):
    followed = PromptFollowing(folder, 6)
    colors = [p.claims["a.color"] for p in followed.prompts]
    half = [c if i % 2 else "nothing" for i, c in enumerate(colors)]
    clips = painted(followed.prompts, [c if c in COLORS else "red" for c in half])
    figures = followed.figures(clips)
    expected = np.mean([c == (h if h in COLORS else "red") for c, h in zip(colors, half)])
    assert figures["following"] == figures["following_color"] == pytest.approx(expected)
    assert 0 <= figures["following_chance"] <= 1


def test_data_without_truth_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"sample\.followed=4: data\.catalog=.* of a world"):
        PromptFollowing(str(tmp_path), 4)
