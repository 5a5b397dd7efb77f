import json
from contextlib import closing
from dataclasses import replace

import jax
import numpy as np
import pytest
from packs import distance, perturb, tiny_config

from videodit.checkpoint import Checkpointer, write_run
from videodit.config import ConfigError, ModeWeights
from videodit.curation import latent_shards as tool
from videodit.curation.latent_shards import encode_latents
from videodit.curation.latents import Rows
from videodit.data.loader import train_batches
from videodit.data.planning.plan import Plan
from videodit.data.sources.latents import DESCRIPTION
from videodit.data.sources.shards import write_records
from videodit.data.sources.source import open_source, open_tokenizer
from videodit.data.sources.synthetic import SyntheticSource
from videodit.data.video.files import encode, whole
from videodit.models.autoencoder import make_autoencoder
from videodit.models.codec import STATISTICS_FILE
from videodit.tasks.diffusion import DiffusionTask
from videodit.train import train

CLIPS, DAMAGED = 24, 5
AUTOENCODER = tiny_config("autoencoder", data__batch_rows=8, data__rows_per_group=8)


def make_autoencoder_run(folder, seed, attention="auto"):
    """The folder of an autoencoder run whose weights are random, every gate open."""
    init, _ = make_autoencoder(AUTOENCODER.autoencoder, AUTOENCODER.compute)
    params = perturb(jax.jit(init)(jax.random.key(seed)))
    compute = replace(AUTOENCODER.compute, attention=attention)
    write_run(folder, replace(AUTOENCODER, compute=compute), open_tokenizer("synthetic"))
    checkpoints = Checkpointer(folder)
    checkpoints.save(1, {"ema": params})
    checkpoints.close()
    channels = AUTOENCODER.autoencoder.channels
    covariance = np.diag(np.linspace(0.5, 2, channels)).tolist()
    statistics = {"mean": np.linspace(-1, 1, channels).tolist(), "covariance": covariance}
    (folder / STATISTICS_FILE).write_text(json.dumps(statistics))
    return str(folder)


def make_data(folder):
    """Synthetic clips in a shard, of which one is damaged."""
    source = SyntheticSource(CLIPS)
    catalog, tokenizer = source.catalog, open_tokenizer("synthetic")
    sizes = zip(catalog.frames, catalog.height, catalog.width)
    clips = [source.read(i, whole(*map(int, size))) for i, size in enumerate(sizes)]
    clips = [encode(clip, float(fps)) for clip, fps in zip(clips, catalog.fps)]
    clips[DAMAGED] = clips[DAMAGED][:100]
    write_records(folder, "clips", ((clip, {}) for clip in clips))
    shard = np.full(CLIPS, "clips.array_record", object)
    replace(catalog, shard=shard, index=np.arange(CLIPS, dtype=np.int32)).write(folder)
    tokenizer.write(folder)
    return str(folder)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """An autoencoder, clips, and their latents in several shards."""
    folder = tmp_path_factory.mktemp("made")
    autoencoder = make_autoencoder_run(folder / "autoencoder", 0)
    data, latents = make_data(folder / "data"), folder / "latents"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tool, "SHARD_BATCHES", 0.2)
        encode_latents(autoencoder, data, latents)
    return autoencoder, data, latents


def files(folder):
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def diffusion_config(made, **changes):
    autoencoder, data, _ = made
    return tiny_config(
        autoencoder__workdir=autoencoder,
        data__catalog=data,
        text__workdir=data,
        data__max_broken=1.0,
        data__modes=vars(ModeWeights(generate=1, animate=1, extend=1)),
        **changes,
    )


def loss_and_gradients(cfg):
    """Loss and gradients of the first batch, and its arrays beside the tokens."""
    tokenizer = open_tokenizer(cfg.text.workdir)
    source, shape = open_source(cfg.data, tokenizer), cfg.autoencoder
    plan = Plan(source.catalog, cfg.data, 3, shape.patch, chunk=shape.chunk)
    task = DiffusionTask(cfg, tokenizer)
    frozen = task.make_frozen(())
    params = perturb(jax.jit(task.init)(jax.random.key(0), frozen))

    def loss(params, batch):
        key, step = jax.random.key(3), 0
        return task.loss(params, frozen, batch, task.weights(batch), key, step)[0]

    with closing(train_batches(source, plan, tokenizer, shape.patch, start_step=0)) as batches:
        batch = next(batches)
        return batch, jax.jit(jax.value_and_grad(loss))(params, batch)


@pytest.mark.slow
def test_training_from_latents_is_training_from_pixels(made, mesh):
    with mesh():
        pixels, expected = loss_and_gradients(diffusion_config(made))
        latents, got = loss_and_gradients(diffusion_config(made, data__latents=str(made[2])))
    assert pixels.tokens.dtype == np.uint8 and latents.tokens.dtype == np.float32
    for name in set(pixels._fields) - {"tokens"}:
        np.testing.assert_array_equal(getattr(pixels, name), getattr(latents, name))
    assert set(np.asarray(pixels.mode_ids)[np.asarray(pixels.valid)]) == {0, 1, 2}
    assert np.asarray(pixels.replaced).sum() == 1
    assert distance(expected, got) < 1e-5


def test_damaged_clips_are_left_out_and_the_others_counted(made):
    _, data, latents = made
    description = json.loads((latents / DESCRIPTION).read_text())
    assert description["left_out"] == [f"synthetic-0-{DAMAGED}"]
    cfg = diffusion_config(made, data__latents=str(latents))
    source = open_source(cfg.data, open_tokenizer(data))
    catalog, values = source.catalog, []
    for i in np.flatnonzero(np.asarray(catalog.split) == "train"):
        if i != DAMAGED:
            size = whole(*(int(c[i]) for c in (catalog.frames, catalog.height, catalog.width)))
            values.append(source.read(i, size).reshape(-1, 16))
    values = np.concatenate(values).astype(np.float64)
    np.testing.assert_allclose(description["mean"], values.mean(0), atol=1e-6)
    np.testing.assert_allclose(description["deviation"], values.std(0), atol=1e-6)


def test_a_killed_run_and_two_hosts_give_the_same_bytes(made, tmp_path, monkeypatch):
    autoencoder, data, latents = made
    monkeypatch.setattr(tool, "SHARD_BATCHES", 0.2)
    assert len(list(latents.glob("*.array_record"))) >= 3
    calls, encoder = [], tool.Encoder.__call__

    def dies(self, batch):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return encoder(self, batch)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(tool.Encoder, "__call__", dies)
        encode_latents(autoencoder, data, tmp_path)
    begun = files(tmp_path)
    assert 0 < len(begun) < len(files(latents)) and not any("tmp" in name for name in begun)
    assert encode_latents(autoencoder, data, tmp_path, host=1, hosts=2) is None
    half = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.array_record")}
    assert len(encode_latents(autoencoder, data, tmp_path, host=0, hosts=2)) == CLIPS - 1
    assert all(path.stat().st_mtime_ns == time for path, time in half.items())
    whole_run, pieces = files(latents), files(tmp_path)
    assert pieces == whole_run


def test_the_kernel_that_an_autoencoder_was_trained_with_need_not_be_here(
    made, tmp_path, monkeypatch
):
    monkeypatch.setattr(tool, "SHARD_BATCHES", 0.2)
    autoencoder = make_autoencoder_run(tmp_path / "autoencoder", 0, attention="cudnn")
    encode_latents(autoencoder, made[1], tmp_path / "latents")
    assert files(tmp_path / "latents") == files(made[2])


def test_rows_are_as_long_as_the_longest_clip(made, tmp_path):
    autoencoder, data, latents = made
    with pytest.raises(ConfigError, match=r"row_tokens=64: clip synthetic-0-\d+ "):
        encode_latents(autoencoder, data, tmp_path, rows=Rows(row_tokens=64))
    encode_latents(autoencoder, data, tmp_path, rows=Rows(row_tokens=640), dtype="bfloat16")
    cfg = diffusion_config(made).data
    rounded, exact = (
        open_source(replace(cfg, latents=str(folder)), open_tokenizer(data))
        for folder in (tmp_path, latents)
    )
    size = whole(
        *(int(c[0]) for c in (exact.catalog.frames, exact.catalog.height, exact.catalog.width))
    )
    a, b = rounded.read(0, size), exact.read(0, size)
    assert 1e-4 < np.abs(a - b).max() / np.abs(b).max() < 2**-7


def test_latents_of_another_autoencoder_are_refused(made, tmp_path):
    other = make_autoencoder_run(tmp_path / "other", 1)
    cfg = diffusion_config(made, data__latents=str(made[2]), steps=1)
    cfg = replace(cfg, autoencoder=replace(cfg.autoencoder, workdir=other))
    with pytest.raises(ConfigError, match=r"data\.latents=.*another autoencoder .*other"):
        train(cfg, str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "autoencoder.digest").write_text("what it was trained with")
    with pytest.raises(ConfigError, match=r"not the one that .*run was trained with"):
        train(diffusion_config(made, steps=1), str(tmp_path / "run"))


@pytest.mark.parametrize("changes, message", [
    ({"autoencoder": "/nowhere"}, r"autoencoder='/nowhere'.*run"),
    ({"data": "/nowhere"}, r"data\.catalog='/nowhere': no such folder"),
    ({"dtype": "int8"}, r"dtype='int8': expected one of float32"),
    ({"host": 2}, r"host=2: expected from 0"),
    ({"out": ""}, r"out=''"),
])  # fmt: skip
def test_what_is_wrong_is_said(made, tmp_path, changes, message):
    options = {"autoencoder": made[0], "data": made[1], "out": tmp_path / "out", **changes}
    with pytest.raises(ConfigError, match=message):
        encode_latents(**options)
    assert not (tmp_path / "out").exists()


def test_the_clips_and_the_autoencoder_are_not_written_over(made):
    autoencoder, data, _ = made
    for name in (data, autoencoder):
        with pytest.raises(ConfigError, match=rf"out='{name}/\.': expected another .*'{name}'"):
            encode_latents(autoencoder, f"{data},synthetic", f"{name}/.")


def test_two_clips_of_one_name_are_refused(made, tmp_path):
    with pytest.raises(ConfigError, match=r"24 ids .*synthetic-0-0"):
        encode_latents(made[0], f"{made[1]},{made[1]}", tmp_path)
