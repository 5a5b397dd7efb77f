import dataclasses
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from odd_sources import StoredSource

from tools.bench import loader as bench_loader
from tools.bench.loader import Bench, digest, shares, throughput, versus_decode, waits
from videodit.config import Config, DataConfig, TextConfig
from videodit.curation.cuts import parse_shapes
from videodit.curation.dataset import curate
from videodit.data.packing import PackedBatch
from videodit.data.video.files import View, encode, read_clip, write_video

ROOT = Path(__file__).parents[3]
DATA = DataConfig(row_tokens=512, text_tokens=128, max_segments=16, batch_rows=2, rows_per_group=4)


def config(folder, **changes):
    data = dataclasses.replace(DATA, catalog=str(folder), **changes)
    return Config(data=data, text=TextConfig(workdir=str(folder)))


@pytest.fixture(scope="module")
def curated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("curated")
    t, y, x = np.meshgrid(*map(np.arange, (120, 48, 64)), indexing="ij")
    film = np.stack([t + x, 3 * y, 250 - 2 * t], -1).astype(np.uint8)
    write_video(folder / "film.mp4", film, 24)
    curate(folder / "film.mp4", folder / "out", parse_shapes("48x32x9@12,32x32x1"))
    return folder / "out"


def numbers(line):
    return [float(x.replace(",", "")) for x in re.findall(r"\d[\d,]*\.?\d*", line)]


def test_pyav_alone_decodes_the_same_frames(tmp_path):
    clip = StoredSource(8).frames[0]
    clip = np.concatenate([clip[:1] // 32 * (8 + i % 16) for i in range(17)])
    file = tmp_path / "clip.mp4"
    file.write_bytes(encode(clip, 12))
    height, width = clip.shape[1:3]
    for view in (
        View(0, 1, 17, height, width),
        View(13, 1, 3, height, width),
        View(3, 4, 3, height // 2, width // 2),
    ):
        frames = np.stack(bench_loader._decode(str(file), view, 12.0)).astype(float)
        assert frames.shape == (view.frames, view.height, view.width, 3)
        assert np.abs(frames - read_clip(file, view, 12.0)).mean() < 2


def test_a_digest_is_of_everything_in_a_batch():
    bench = Bench(config("synthetic"))
    first, second, again = (next(bench.host_batches(range(step, step + 1))) for step in (0, 1, 0))
    assert digest(first) == digest(again) != digest(second)
    for name in PackedBatch._fields:
        changed = getattr(first, name).copy()
        changed.view(np.uint8).flat[-1] ^= 1
        assert digest(first._replace(**{name: changed})) != digest(first), name


def test_it_says_how_fast_the_loader_is_and_how_full_its_rows(capsys):
    bench = Bench(config("synthetic"))
    assert "256 clips" in capsys.readouterr().out and bench.cfg.text_tokens == 128
    first, tokens, clips, batches, padding, broken = numbers(throughput(bench, 0.5))
    assert tokens == pytest.approx(batches * 2 * 512 * (1 - padding / 100), rel=0.02)
    assert first > 0 and clips > batches and broken == 0
    step, mean, share, most, steps = numbers(waits(bench, 0.4, 0.1))
    assert step == 0.1 and steps == 4 and mean <= most
    assert share == pytest.approx(100 * mean / (mean + 0.1), abs=0.6)
    decoding, others, _ = numbers(shares(bench, 0.2))
    assert decoding + others == pytest.approx(100, abs=0.2) and decoding > 10


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_it_compares_with_pyav_alone(curated, workers):
    ratio, _, *each = numbers(versus_decode(Bench(config(curated, workers=workers)), 0.2))
    assert len(each) == bench_loader.ROUNDS
    assert np.log(ratio) == pytest.approx(np.log(each).mean(), abs=0.02)


@pytest.mark.parametrize(
    "arguments, error",
    [
        ([], "error: expected either --config or --catalog"),
        (["--catalog=synthetic", "--vs-decode"], "error: --vs-decode: .* is no curated folder"),
        (
            ["--catalog=/absent"],
            "error: text.workdir='/absent': /absent/tokenizer.model: no such",
        ),
    ],
)
def test_a_mistake_is_one_line(arguments, error):
    done = subprocess.run(
        [sys.executable, "-m", "tools.bench.loader", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and re.match(error, done.stderr) and done.stderr.count("\n") == 1
