import json
import re
from pathlib import Path

import jax
import numpy as np
import pytest
from absl import flags
from packs import tiny_config

from videodit.checkpoint import restore_ema
from videodit.config import ConfigError, MeshConfig
from videodit.data.video.files import probe, read_frames, write_video
from videodit.generate import GroupProgress, check_output, generate, main, read_requests
from videodit.inference.pipeline import sampling_mesh
from videodit.inference.request import Request
from videodit.train import train

DOCUMENTATION = Path(__file__).parents[1] / "docs" / "generation.md"


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "dit"
    train(tiny_config(steps=1, sample__prompts=(), data__row_tokens=504), folder)
    return folder


def test_clips_of_several_shapes_are_written(workdir, tmp_path):
    requests = {
        tmp_path / "a.mp4": Request("a red square moves left", 30, 20, 6, 12.0, 1),
        tmp_path / "b/c.mp4": Request("a blue circle", 16, 40, 1, 8.0, 2),
    }
    generate(workdir, requests, steps=2)
    assert probe(tmp_path / "a.mp4")[:3] == (30, 20, 6)
    assert read_frames(tmp_path / "b/c.mp4").shape == (1, 40, 16, 3)
    first = read_frames(tmp_path / "a.mp4")
    generate(workdir, {tmp_path / "a.mp4": requests[tmp_path / "a.mp4"]}, steps=2)
    assert np.abs(read_frames(tmp_path / "a.mp4").astype(int) - first).max() <= 2


def test_all_devices_share_out_the_weights(workdir, tmp_path, monkeypatch):
    restored = []

    def restore(*arguments):
        restored.append(restore_ema(*arguments))
        return restored[0]

    monkeypatch.setattr("videodit.inference.pipeline.restore_ema", restore)
    generate(workdir, {tmp_path / "a.mp4": Request("a red square", 16, 16, 1)}, steps=1)
    largest = max(jax.tree.leaves(restored[0]), key=lambda x: x.size)
    assert largest.addressable_shards[0].data.size == largest.size / 8


@pytest.mark.parametrize("devices, ways", [(1, 1), (3, 1), (6, 2), (8, 8), (512, 32)])
def test_weights_are_shared_out_as_far_as_their_widths_divide(devices, ways):
    cfg = tiny_config()
    assert sampling_mesh(cfg, devices) == MeshConfig(data=-1, fsdp=ways)


def test_what_is_not_a_diffusion_run_is_named(tmp_path):
    with pytest.raises(ConfigError, match="has no config"):
        generate(tmp_path, {})


def test_requests_are_refused_before_weights_are_read(workdir, tmp_path, monkeypatch):
    def read(*_):
        raise AssertionError("weights were read")

    monkeypatch.setattr("videodit.inference.pipeline.restore_ema", read)
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.mp4").mkdir()
    good = Request("a red square", 16, 16, 1)
    for out, request, message in (
        ("a.avi", good, r"--out='.*a.avi': expected a file that ends in .mp4"),
        ("folder.mp4", good, "--out='.*folder.mp4': .*a folder has this name"),
        ("file/a.mp4", good, "file/a.mp4': "),
        ("a.mp4", Request("a", 64, 64, 33), "this model's rows have data.row_tokens=504"),
        ("a.mp4", Request("word " * 400), "this model takes at most data.text_tokens=128"),
    ):
        with pytest.raises(ConfigError, match=message):
            generate(workdir, {tmp_path / "b.mp4": good, tmp_path / out: request})
    assert not list(tmp_path.glob("?.*"))


def test_a_folder_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("videodit.generate.tempfile.TemporaryFile", refuse)
    with pytest.raises(ConfigError, match=r"--out='.*a.mp4': .*Permission denied"):
        check_output(tmp_path / "a.mp4")


def test_a_run_that_stops_leaves_whole_files_of_the_finished_clips(
    workdir, tmp_path, monkeypatch, capsys
):
    written = []

    def write(path, *args):
        write_video(path, *args)
        written.append(path)
        if len(written) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr("videodit.generate.write_video", write)
    requests = {tmp_path / f"{i}.mp4": Request("a", 16, 16, 1, seed=i) for i in range(4)}
    with pytest.raises(KeyboardInterrupt):
        generate(workdir, requests, steps=1)
    finished = list(tmp_path.glob("[0-9].mp4"))
    assert len(finished) == 2
    assert all(read_frames(path).shape == (1, 16, 16, 3) for path in finished)
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("[1/4, ") and second.startswith("[2/4, ")
    assert any(str(path) in second for path in finished)


def test_the_examples_of_the_documentation_run(workdir, tmp_path, monkeypatch):
    blocks = re.findall(r"```python\n(.*?)```", DOCUMENTATION.read_text(), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    Path("runs/demo").mkdir(parents=True)
    Path("runs/demo/dit").symlink_to(workdir)
    frames = np.random.default_rng(0).integers(0, 256, (9, 48, 48, 3), np.uint8)
    write_video("runs/demo/samples/0_48x48x9.mp4", frames, 6.0)
    exec("".join(blocks).replace("steps=10", "steps=1"), {})
    shapes = {path.stem: read_frames(path).shape[:3] for path in Path().glob("*.mp4")}
    expected = [(9, 48, 48), *[(17, 48, 48)] * 3, (9, 48, 48)]
    assert shapes == {f"given_{i}": shape for i, shape in enumerate(expected)} | {
        f"rabbit_{i}": (17, 64, 96) for i in range(4)
    }


def test_progress_leaves_the_first_group_out(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("videodit.generate.time.monotonic", lambda: now[0])
    progress, lines = GroupProgress([2, 1, 1]), []
    for seconds in (100, 0, 10, 10):
        now[0] += seconds
        lines.append(progress.next())
    assert lines == ["[1/4, 3:20 left]", "[2/4, 3:20 left]", "[3/4, 10 s left]", "[4/4, 0 s left]"]


def test_a_bad_line_of_requests_is_named(tmp_path):
    file = tmp_path / "r.jsonl"
    good = {"prompt": "a", "size": "96x64", "frames": 17, "fps": 12, "seed": 0, "out": "a.mp4"}
    file.write_text(json.dumps(good))
    left_out = []
    ((path, request),) = read_requests(file, tmp_path, left_out).items()
    assert path == tmp_path / "a.mp4" and (request.width, request.height) == (96, 64)
    assert not left_out
    for bad, message in (
        ({**good, "size": "96"}, "WIDTHxHEIGHT"),
        ({"prompt": "a", "size": "8x8"}, "out is missing"),
        ({**good, "frame": 3}, "unknown field frame: did you mean 'frames'"),
        ({**good, "out": "a.avi"}, "ends in .mp4"),
        ({**good, "fps": float("nan")}, "fps=nan"),
        ({**good, "prompt": 3}, "prompt=3"),
        ({**good, "prompt": "\ud800"}, "a text that is not empty"),
        ({**good, "out": 3}, "out=3"),
        ({**good, "out": "a\0.mp4"}, "a text that is not empty"),
        ({**good, "out": "狐" * 70 + ".mp4"}, "at most 200 bytes"),
        ({**good, "size": 8}, "size=8"),
        ({**good, "frames": 0.5}, "frames=0.5"),
        ({**good, "fps": "12"}, "fps='12'"),
        (good, "out='a.mp4': expected another file"),
        ([3], "an object of fields"),
    ):
        last = {**good, "out": "last.mp4"}
        file.write_text("\n".join(map(json.dumps, (good, bad, last))))
        left_out = []
        found = read_requests(file, tmp_path, left_out)
        assert [path.name for path in found] == ["a.mp4", "last.mp4"]
        (reason,) = left_out
        assert re.match(f"{file}, line 2: .*{message}", reason)
        file.write_text(json.dumps([bad] if bad == good else bad))
        with pytest.raises(ConfigError, match=f"expected a request a line; {file}, line 1: "):
            read_requests(file, tmp_path, [])


def test_requests_are_lines_of_utf8_with_any_separators_inside(tmp_path):
    """U+2028 in a JSON string is valid; only "\\n" separates lines (RFC 8259, section 7)."""
    file, prompt = tmp_path / "r.jsonl", "a\u2028b\u0085c"
    line = json.dumps({"prompt": prompt, "size": "8x8", "out": "a.mp4"}, ensure_ascii=False)
    file.write_bytes(b"\xef\xbb\xbf" + line.encode() + b"\r\n")
    left_out = []
    (request,) = read_requests(file, tmp_path, left_out).values()
    assert request.prompt == prompt and not left_out


def test_what_is_left_out_of_requests_is_said_at_the_end_too(tmp_path, monkeypatch, capsys):
    file = tmp_path / "r.jsonl"
    good = {"prompt": "a", "size": "96x64", "out": "a.mp4"}
    file.write_text(json.dumps(good) + "\n{\n")
    made = []
    monkeypatch.setattr("videodit.generate.generate", lambda _, requests: made.extend(requests))
    monkeypatch.setattr("videodit.generate.check_trained", lambda *_: None)
    monkeypatch.setattr("videodit.sharding.join_processes", lambda _: None)
    for name, value in (("workdir", "w"), ("requests", str(file)), ("out", str(tmp_path))):
        monkeypatch.setattr(flags.FLAGS, name, value)
    with pytest.raises(ConfigError, match=f"1 requests were left out, .* {file}, line 2: "):
        main([])
    assert made == [tmp_path / "a.mp4"]
    assert f"left out: {file}, line 2: is not JSON" in capsys.readouterr().out
