"""Codecs and text encoders of others, one file each: trained on, resumed, planned, generated."""

import shutil
from dataclasses import replace

import jax
import numpy as np
import pytest
import toy_codec  # noqa: F401 (registers a kind)
import toy_convolution  # noqa: F401
import toy_text_encoder  # noqa: F401
from packs import clip, pack, tiny_config
from toy_codec import CHANNELS, write_codec
from toy_text_encoder import write_text_encoder

from tools.encode_latents import encode_latents
from videodit.config import ConfigError, ModeWeights
from videodit.data.sources.shards import write_records
from videodit.data.sources.source import open_tokenizer
from videodit.data.sources.synthetic import SyntheticSource
from videodit.data.tokenizer import Tokenizer
from videodit.data.video.files import encode, whole
from videodit.flops import Clips
from videodit.forecasting.ahead import abstract_arguments
from videodit.inference.pipeline import Pipeline
from videodit.inference.request import Request
from videodit.optim import make_optimizer, make_schedule
from videodit.sharding import make_mesh
from videodit.tasks.registry import make_task
from videodit.tasks.resolve import resolve_elsewhere
from videodit.train import train

REQUESTS = [Request("a red square moves", 24, 16, 6, seed=3), Request("a blue disc", 16, 16, 1)]
CAPTIONS = [text for texts in SyntheticSource(32).catalog.captions for text in texts]


def config(**changes):
    sample = {"sample__prompts": (), "sample__solver": "euler"}
    return tiny_config(steps=2, save_every=1, **sample, **changes)


def train_resume_generate(cfg, workdir):
    """Trains a step, then another; returns the state and two clips."""
    train(replace(cfg, steps=1), workdir)
    state = train(cfg, workdir)
    assert int(state["step"]) == 2
    clips = dict(Pipeline.read(workdir)(REQUESTS))
    assert [clips[i].shape for i in range(2)] == [(6, 16, 24, 3), (1, 16, 16, 3)]
    assert all(np.ptp(clips[i]) > 0 for i in range(2))  # not one colour
    return state, clips


def write_data(folder, count=24):
    """Synthetic clips in a shard; returns the folder."""
    source = SyntheticSource(count)
    catalog = source.catalog
    sizes = zip(catalog.frames, catalog.height, catalog.width)
    clips = [source.read(i, whole(*map(int, size))) for i, size in enumerate(sizes)]
    clips = [encode(clip, float(fps)) for clip, fps in zip(clips, catalog.fps)]
    write_records(folder, "clips", ((clip, {}) for clip in clips))
    shard = np.full(count, "clips.array_record", object)
    replace(catalog, shard=shard, index=np.arange(count, dtype=np.int32)).write(folder)
    source.tokenizer.write(folder)
    return str(folder)


def planned(cfg):
    """The parameters' and the frozen arrays' shapes, as the planner knows them."""
    task = make_task(resolve_elsewhere(cfg), open_tokenizer(cfg.text.workdir))
    optimizer = make_optimizer(cfg.optim, make_schedule(cfg.optim, cfg.steps), task.groups)
    with jax.set_mesh(make_mesh(cfg.mesh)):
        state, frozen, *_ = abstract_arguments(task.cfg, task, optimizer)
    return state["params"], frozen


def refused(cfg, workdir, pattern):
    with pytest.raises(ConfigError, match=pattern) as error:
        train(cfg, workdir)
    assert "\n" not in str(error.value)


def test_a_codec_of_others(tmp_path):
    cfg = config(autoencoder__kind="toy", autoencoder__workdir=write_codec(tmp_path / "codec"))
    train_resume_generate(cfg, tmp_path / "run")
    params, frozen = planned(cfg)
    assert frozen["autoencoder"]["kernel"].shape == (768, CHANNELS)
    assert params["dit"]["embed"]["kernel"].shape[0] == CHANNELS
    # Other weights are another codec, on resume and on generate.
    known = (tmp_path / "run" / "autoencoder.digest").read_text().strip()
    write_codec(tmp_path / "codec", seed=1)
    refused(replace(cfg, steps=3), tmp_path / "run", rf"autoencoder.workdir=.*{known}")
    with pytest.raises(ConfigError, match=known):
        Pipeline.read(tmp_path / "run")
    refused(config(autoencoder__kind="toi"), tmp_path / "other", "autoencoder.kind='toi': .*toy")
    wrong = replace(cfg, autoencoder=replace(cfg.autoencoder, workdir=str(tmp_path)))
    refused(wrong, tmp_path / "other", "kernel.npy")


def test_a_frozen_text_encoder_of_others_whose_tokenizer_has_no_bos(tmp_path):
    folder = tmp_path / "text"
    cfg = config(text__kind="toy", text__workdir=write_text_encoder(folder, CAPTIONS))
    state, _ = train_resume_generate(cfg, tmp_path / "run")
    assert set(state["params"]) == {"dit"} == set(state["ema"])
    params, frozen = planned(cfg)
    assert set(params) == {"dit"} and frozen["text"]["table"].shape[1] == 32
    known = (tmp_path / "run" / "text.digest").read_text().strip()
    write_text_encoder(folder, CAPTIONS, seed=1)  # other weights, the same tokenizer
    refused(replace(cfg, steps=3), tmp_path / "run", rf"text.workdir=.*{known}")
    with pytest.raises(ConfigError, match=known):
        Pipeline.read(tmp_path / "run")
    write_text_encoder(folder, CAPTIONS[:9])  # another tokenizer
    shutil.copy(folder / "tokenizer.model", tmp_path / "run")
    with pytest.raises(ConfigError, match=rf"text.workdir=.*{known}"):
        Pipeline.read(tmp_path / "run")
    known = Tokenizer.read(tmp_path / "run").digest
    write_text_encoder(folder, CAPTIONS[9:])
    pattern = rf"tokenizer.*{open_tokenizer(str(folder)).digest}.*{known}"
    refused(replace(cfg, steps=3), tmp_path / "run", pattern)


def test_a_dropped_caption_is_the_empty_text_if_there_is_no_bos(tmp_path):
    cfg = config(text__kind="toy", text__workdir=write_text_encoder(tmp_path, CAPTIONS))
    task = make_task(cfg, open_tokenizer(cfg.text.workdir))
    params = {"text": task.text_encoder.read()}
    batch = pack([[clip(0), clip(2)]])
    dropped = np.zeros_like(batch.valid)
    dropped[0, 0] = True
    vectors, ids = jax.device_get(task.read_captions(params, batch, dropped))
    assert ids[0, :9].tolist() == [1, 0, 0, 2, 2, 2, 2, 2, 0]
    empty = task.tokenizer.encode("")
    assert empty == [task.tokenizer.eos]
    table = params["text"]["table"]
    np.testing.assert_array_equal(vectors[0, 0], table[empty[0]])
    np.testing.assert_array_equal(vectors[0, 3:8], table[batch.text_ids[0, 3:8]])


def test_a_codec_of_whole_clips_is_reached_through_stored_latents(tmp_path):
    kind, codec = "toy convolution", str(tmp_path / "codec")
    cfg = config(autoencoder__kind=kind, autoencoder__workdir=codec)
    refused(cfg, tmp_path / "run", f"data.latents='': expected .*{kind}")
    data, latents = write_data(tmp_path / "data"), str(tmp_path / "latents")
    encode_latents(codec, data, latents, kind=kind)
    changes = {"data__catalog": data, "text__workdir": data, "data__latents": latents}
    changes["data__modes"] = vars(ModeWeights(generate=1, extend=1))
    cfg = config(
        autoencoder__kind=kind, autoencoder__workdir=codec, data__max_broken=1.0, **changes
    )
    train_resume_generate(cfg, tmp_path / "run")
    given = Request.animate("a red square", np.zeros((16, 16, 3), np.uint8), frames=5)
    with pytest.raises(ConfigError, match=r"given='Given': expected None: .* whole clips"):
        Pipeline.read(tmp_path / "run")([given])
    task = make_task(resolve_elsewhere(cfg), open_tokenizer(data))
    clips = Clips(np.array([[3, 4, 4]]), np.array([48]), np.array([3]))
    assert len(task.stacks(clips, 0)) == 2  # DiT and text encoder
    other = replace(cfg, steps=3, autoencoder=replace(cfg.autoencoder, workdir="elsewhere"))
    refused(other, tmp_path / "run", "data.latents=.*another autoencoder")
