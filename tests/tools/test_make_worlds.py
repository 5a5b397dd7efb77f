import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from fake_world import FakeWorld

from tools import make_worlds as tool
from tools.make_worlds import make_worlds
from videodit.config import ConfigError
from videodit.data.sources.catalog import Catalog
from videodit.data.sources.source import ArrayRecordSource, check_tokenizer, open_tokenizer
from videodit.data.video.files import whole
from videodit.worlds.clip_shapes import Shapes
from videodit.worlds.truth import read_truth
from videodit.worlds.world import Shape

SHAPES = Shapes(sides=(32, 64), frames=(1, 9))
WORLD = FakeWorld()


@pytest.fixture(autouse=True)
def fake(monkeypatch):
    monkeypatch.setattr(tool, "open_world", lambda name: WORLD)
    monkeypatch.setattr(tool, "SHARD_CLIPS", 8)


def make(out, clips=40, **options):
    return make_worlds("fake", out, clips, SHAPES, workers=1, held_out=0.1, **options)


def files(out):
    return {path.relative_to(out): path.stat().st_mtime_ns for path in out.rglob("*.*")}


def test_stored_clips_are_those_that_their_truth_makes_again(tmp_path):
    make(tmp_path)
    source = ArrayRecordSource(tmp_path)
    catalog = source.catalog
    check_tokenizer(catalog, open_tokenizer(str(tmp_path)))
    truths = {shard: read_truth(tmp_path, shard) for shard in catalog.shard}
    for i, name in enumerate(catalog.ids):
        truth = truths[catalog.shard[i]][catalog.index[i]]
        assert truth.id == name and catalog.captions[i] == (truth.short, truth.long)
        shape = (int(c[i]) for c in (catalog.width, catalog.height, catalog.frames))
        clip = WORLD.make(truth.seed, Shape(*shape, catalog.fps[i]), truth.combinations)
        assert (truth.states, truth.slots) == (clip.states, clip.slots)
        assert (truth.short_slots, truth.long_slots) == (clip.short.slots, clip.long.slots)
        stored = source.read(i, whole(*clip.frames.shape[:3]))
        assert np.abs(stored.astype(int) - clip.frames).mean() < 3


def test_splits_have_other_seeds_and_only_one_has_held_out_combinations(tmp_path):
    catalog = make(tmp_path, clips=60)
    assert Counter(catalog.split) == {"train": 42, "val": 6, "test": 6, "combinations": 6}
    truths = [t for shard in dict.fromkeys(catalog.shard) for t in read_truth(tmp_path, shard)]
    assert len({truth.seed for truth in truths}) == len(truths) == len(set(catalog.ids))
    for truth, split in zip(truths, catalog.split):
        large_red = truth.slots["a.color"] == "red" and truth.slots["a.size"] == "large"
        assert large_red == (split == "combinations")


def test_the_order_of_work_leaves_no_trace(tmp_path):
    """Hosts, a killed run and a second run give the same bytes as one run does."""
    make(tmp_path / "one")
    assert make(tmp_path / "two", hosts=2, host=1) is None
    assert not (tmp_path / "two" / "catalog.parquet").exists()
    half = files(tmp_path / "two")
    assert len(make(tmp_path / "two", hosts=2, host=0)) == 40
    assert files(tmp_path / "two").items() >= half.items()
    names = set(files(tmp_path / "one"))
    assert names == set(files(tmp_path / "two"))
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_an_interrupted_shard_is_made_again_and_no_other(tmp_path, monkeypatch, capsys):
    real, calls = FakeWorld.make, []

    def dies(self, seed, *rest):
        calls.append(seed)
        if len(calls) == 13:  # in the middle of the second shard
            raise KeyboardInterrupt
        return real(self, seed, *rest)

    monkeypatch.setattr(FakeWorld, "make", dies)
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path)
    assert {path.suffix for path in tmp_path.rglob("*.*")} == {".array_record", ".json", ".parquet"}
    assert len(files(tmp_path)) == 3
    make(tmp_path)
    assert calls[13:18] == calls[8:13]
    assert len(calls) == 40 + 5 and len(Catalog.read(tmp_path)) == 40
    written = files(tmp_path)
    make(tmp_path)
    shards = {name: time for name, time in written.items() if len(name.parts) > 1}
    assert len(calls) == 45 and files(tmp_path).items() >= shards.items()
    assert "keeps" in capsys.readouterr().out


def test_another_recipe_is_another_shard(tmp_path, monkeypatch):
    make(tmp_path)
    before = {name for name in files(tmp_path) if name.suffix == ".array_record"}
    for changes in ({"seed": 1}, {"clips": 48}):
        make(tmp_path, **changes)
    after = {name for name in files(tmp_path) if name.suffix == ".array_record"}
    # Training shards have 8, 8, 8 and 4 of 40 clips, and 8, 8, 8, 8 and 1 of 48 clips. Two of the
    # latter are new, and so are the shards of the other splits, which have one clip more.
    assert len(before) == 4 + 3 and len(after) == 2 * len(before) + 2 + 3
    monkeypatch.setattr(tool, "digest_code", lambda world: "changed")
    make(tmp_path)
    assert len([n for n in files(tmp_path) if n.suffix == ".array_record"]) == len(after) + 7


def test_the_code_of_a_world_is_part_of_its_recipe(tmp_path):
    """Its files and those of all worlds are; another world's and the detectors' are not."""
    folder = shutil.copytree(tool.WORLDS_FOLDER, tmp_path / "worlds")

    def digests():
        return [tool.digest_code(world, folder) for world in ("sprites", "stage")]

    first = digests()
    assert first == [tool.digest_code("sprites"), tool.digest_code("stage")]
    (folder / "sprites" / "detector.py").write_text("")
    assert digests() == first
    (folder / "sprites" / "scene.py").write_text("")
    assert digests()[0] != first[0] and digests()[1] == first[1]
    (folder / "grammar.py").write_text("")
    assert digests()[1] != first[1]


def test_a_clip_that_cannot_be_made_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(FakeWorld, "make", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError) as caught:
        make(tmp_path)
    assert "clip fake/train/00000000: fake, seed " in caught.value.__notes__[0]


@pytest.mark.parametrize(
    "options, message",
    [
        ({"clips": 2}, "clips=2: expected at least 4"),
        ({"clips": 9, "held_out": 0.4}, "held_out=0.4: expected below 1/3"),
        ({"out": ""}, "out='': expected a folder"),
        ({"held_out": 1.0}, "held_out=1.0"),
        ({"host": 2, "hosts": 2}, "host=2: expected from 0 to hosts - 1, which is 1"),
        ({"shapes": Shapes(sides=(33, 39))}, "no clip is like this"),
        ({"shapes": Shapes(frames=(9, 5))}, r"frames=\(9, 5\)"),
    ],
)
def test_wrong_options_are_refused(tmp_path, options, message):
    defaults = {"world": "fake", "out": tmp_path, "clips": 40, "shapes": SHAPES, "workers": 1}
    with pytest.raises(ConfigError, match=message):
        make_worlds(**defaults | options)
    assert not list(tmp_path.iterdir())


def run(*args):
    return subprocess.run(
        [sys.executable, "-m", "tools.make_worlds", *args],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command_line(tmp_path):
    out = tmp_path / "out"
    flags = ("--world=sprites", f"--out={out}", "--clips=12", "--held_out=0.1", "--workers=1")
    done = run(*flags, "--sides=32,48", "--frames=5,9", "--fps=8,8", "--vocab_size=300")
    assert done.returncode == 0, done.stderr
    catalog = Catalog.read(out)
    assert len(catalog) == 12 and set(catalog.frames) <= {5, 9} and set(catalog.fps) == {8}
    assert "12 clips" in done.stdout
    for wrong, message in (
        ("--sides=32", "--sides='32': expected MIN,MAX"),
        (f"--out={out / 'catalog.parquet'}", f"--out='{out / 'catalog.parquet'}': "),
    ):
        refused = run(*flags, wrong)
        assert refused.returncode == 2 and "Traceback" not in refused.stderr
        assert f"error: {message}" in refused.stderr
