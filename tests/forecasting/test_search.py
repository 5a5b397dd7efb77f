from types import SimpleNamespace

import jax
import numpy as np
import pytest
from packs import tiny_config

from videodit.config import ConfigError
from videodit.data.sources.source import open_tokenizer
from videodit.flops import StackRun
from videodit.forecasting.ahead import Memory
from videodit.forecasting.chips import CHIPS
from videodit.forecasting.roofline import Times
from videodit.forecasting.search import estimate, kept_bytes, search, variants
from videodit.models.dit import SIZES
from videodit.sharding import make_mesh

GIB = 2**30
ROWS = {"data__batch_rows": 16, "data__rows_per_group": 16}


def base(temporaries=20 * GIB, host=0.0):
    cfg = tiny_config(**ROWS, mesh__data=4, mesh__fsdp=2, compute__remat="block")
    devices = jax.devices()
    return SimpleNamespace(
        cfg=cfg,
        topology=SimpleNamespace(name="h100:1x8", devices=devices),
        mesh=make_mesh(cfg.mesh, devices),
        parameters=10**9,
        stack=StackRun(SIZES[cfg.dit.size], np.ones(1), np.ones(1), "block"),
        memory=Memory(2 * GIB, 4 * GIB, 2 * GIB, 0, 0, temporaries),
        chip=CHIPS["h100"],
        times=Times(
            matmuls=1.0, attention=0.2, memory=0.8, hbm=0.9, beside=0.5, waited=0.0, host=host
        ),
    )


KEPT = {"none": 9 * GIB, "products": 4 * GIB, "dots": 5 * GIB, "attention": 2 * GIB, "block": GIB}


def of(found, **changes):
    return next(
        x
        for x in variants(found)
        if all(x[name.replace("__", ".")] == value for name, value in changes.items())
    )


def test_variants_keep_the_chips_and_whole_rows():
    found = base()
    for x in variants(found):
        assert x["mesh.data"] * x["mesh.fsdp"] * x["mesh.context"] == 8
        assert x["data.batch_rows"] % (x["mesh.data"] * x["mesh.fsdp"]) == 0


def test_less_recomputation_is_faster_and_needs_what_it_keeps():
    found, same = base(), {"mesh__fsdp": 2, "mesh__context": 1, "data__batch_rows": 16}
    block = estimate(found, of(found, compute__remat="block", **same), KEPT)
    none = estimate(found, of(found, compute__remat="none", **same), KEPT)
    assert none.speed > block.speed
    assert none.bytes - block.bytes == 2 * 8 * GIB  # two rows on each device
    assert block.bytes == pytest.approx(found.memory.total)


def test_more_fsdp_shares_the_state():
    found, same = base(), {"mesh__context": 1, "data__batch_rows": 16, "compute__remat": "block"}
    two, eight = (estimate(found, of(found, mesh__fsdp=n, **same), KEPT) for n in (2, 8))
    assert two.bytes - eight.bytes == pytest.approx((8 + 2) * GIB * 3 / 4)


def test_more_fsdp_shares_what_passes_to_the_host():
    same = {"mesh__context": 1, "data__batch_rows": 16, "compute__remat": "block"}

    def added(fsdp):
        of_base = lambda found: 1 / estimate(found, of(found, mesh__fsdp=fsdp, **same), KEPT).speed
        return of_base(base(host=1.0)) - of_base(base())

    assert added(2) == pytest.approx(4 * added(8))


def test_what_is_kept_is_written_and_read_and_the_update_is_once_a_step():
    found, same = base(), {"mesh__fsdp": 8, "mesh__context": 1}

    def seconds(remat, rows, kept):
        changes = of(found, compute__remat=remat, data__batch_rows=rows, **same)
        return rows * found.cfg.data.row_tokens / estimate(found, changes, kept).speed / 8

    more = KEPT | {"products": KEPT["products"] + GIB}
    speed = CHIPS["h100"].bandwidth * CHIPS["h100"].streaming
    added = seconds("products", 16, more) - seconds("products", 16, KEPT)
    assert added == pytest.approx(2 * 2 * GIB / speed)  # of two rows
    assert seconds("block", 32, KEPT) < 2 * seconds("block", 16, KEPT)


def test_micro_batches_keep_as_much_each_as_a_batch_of_their_size():
    found, same = base(), dict(mesh__fsdp=2, mesh__context=1, data__batch_rows=16)
    found.cfg = tiny_config(
        **ROWS, mesh__data=4, mesh__fsdp=2, compute__remat="block", optim__accumulate=2
    )
    nothing = dict.fromkeys(KEPT, 0.0)
    tokens = 16 * found.cfg.data.row_tokens / 8
    seconds = [
        tokens / estimate(found, of(found, compute__remat="none", **same), kept).speed
        for kept in (KEPT | {"block": 0.0}, nothing)
    ]
    speed = CHIPS["h100"].bandwidth * CHIPS["h100"].streaming
    assert seconds[0] - seconds[1] == pytest.approx(2 * 2 * KEPT["none"] / speed)  # of two rows


def test_windows_are_of_whole_batches():
    found = base()
    assert "data.rows_per_group" not in of(found, data__batch_rows=8)
    assert of(found, data__batch_rows=32)["data.rows_per_group"] == 32


def test_the_best_of_those_that_fit_are_compiled_and_ranked(monkeypatch):
    monkeypatch.setattr("videodit.forecasting.search.kept_bytes", lambda cfg, t, name: KEPT[name])
    compiled = []

    def compile_config(cfg):
        if cfg.mesh.context > 4:
            raise ConfigError("heads")
        compiled.append(cfg)
        return SimpleNamespace(fits=len(compiled) != 2, speed=float(len(compiled)))

    best = search(base(), None, compile_config, most=3, tell=lambda line: None)
    assert [found.speed for _, found in best] == [3.0, 1.0] and len(compiled) == 3


def test_a_chip_of_unknown_speed_is_refused():
    found = base()
    found.times = None
    with pytest.raises(ConfigError, match="--search"):
        search(found, None, None)


def test_what_is_kept_of_a_row_is_at_least_what_goes_into_each_block():
    given = dict.fromkeys(("inpaint", "connect", "prepend"), 0.0)
    tasks = {f"data__modes__{name}": weight for name, weight in given.items()}
    cfg = tiny_config(data__latents="stored", sample__prompts=(), **tasks)
    shape, tokenizer = SIZES["smoke"], open_tokenizer("synthetic")
    block = kept_bytes(cfg, tokenizer, "block")
    assert block > 4 * shape.depth * cfg.data.row_tokens * shape.width
    assert kept_bytes(cfg, tokenizer, "products") > block
