import json

import jax
import numpy as np
import pytest
from packs import tiny_config

from videodit.checkpoint import restore_ema
from videodit.config import ConfigError, MeshConfig
from videodit.data.video.files import probe, read_frames
from videodit.generate import generate, read_requests, sampling_mesh
from videodit.inference.sampling import Request
from videodit.train import train


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "dit"
    train(tiny_config(steps=1, sample__prompts=()), folder)
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

    monkeypatch.setattr("videodit.generate.restore_ema", restore)
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


def test_a_bad_line_of_requests_is_named(tmp_path):
    file = tmp_path / "r.jsonl"
    good = {"prompt": "a", "size": "96x64", "frames": 17, "fps": 12, "seed": 0, "out": "a.mp4"}
    file.write_text(json.dumps(good))
    ((path, request),) = read_requests(file, tmp_path).items()
    assert path == tmp_path / "a.mp4" and (request.width, request.height) == (96, 64)
    for bad, message in (
        ({**good, "size": "96"}, "WIDTHxHEIGHT"),
        ({"prompt": "a"}, "out"),
        ({**good, "frame": 3}, "frame"),
    ):
        file.write_text(json.dumps(good) + "\n" + json.dumps(bad))
        with pytest.raises(ConfigError, match=f"line 2: .*{message}"):
            read_requests(file, tmp_path)
