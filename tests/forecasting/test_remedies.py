import math
from types import SimpleNamespace

import pytest
from packs import tiny_config

from videodit.config import ConfigError, changed
from videodit.forecasting.ahead import Memory
from videodit.forecasting.remedies import as_flags, candidates, estimate, find_remedy

GIB = 2**30


def forecast(cfg, state=8, temporaries=40, chip=32, **shape):
    """A stand-in for a Forecast of `cfg`: GiB of a chip that holds a third of `state` in each."""
    mesh = {"data": 4, "fsdp": 2, "ring": 1, "context": 1, "tensor": 1} | shape
    parts = [state * GIB // 4, state * GIB // 2, state * GIB // 4]
    memory = Memory(*parts, frozen=0, batch=0, temporaries=temporaries * GIB)
    return SimpleNamespace(
        cfg=cfg,
        mesh=SimpleNamespace(shape=mesh, size=8, axis_names=tuple(mesh)),
        memory=memory,
        chip=SimpleNamespace(memory=chip * GIB),
        fits=memory.total <= chip * GIB,
    )


def config(**changes):
    rows = {"data__batch_rows": 32, "data__rows_per_group": 32}
    mesh = {"mesh__data": 4, "mesh__fsdp": 2}
    return tiny_config(**rows, **mesh, compute__remat="dots", **changes)


def test_the_cheapest_change_that_fits_is_found_and_hopeless_ones_are_not_compiled():
    tried = []

    def compile_config(cfg):
        tried.append(cfg)
        return forecast(cfg, temporaries=40 // cfg.optim.accumulate)

    changes, found = find_remedy(forecast(config()), compile_config, tell=lambda line: None)
    assert changes == {"optim.accumulate": 2} and found.fits and len(tried) == 1
    big = forecast(config(), temporaries=400, chip=12)
    assert find_remedy(big, lambda cfg: big, tell=lambda line: None) is None


def test_state_that_does_not_fit_is_shared_by_more():
    found = forecast(config(), state=64, temporaries=1)

    def compile_config(cfg):
        return forecast(cfg, state=64 * 2 // cfg.mesh.fsdp, temporaries=1)

    changes, _ = find_remedy(found, compile_config, tell=lambda line: None)
    assert changes["mesh.fsdp"] * changes["mesh.data"] == 8 and changes["mesh.fsdp"] > 2


def test_estimates_scale_the_state_by_its_parts_and_the_rest_by_tokens():
    found = forecast(config())
    half = changed(found.cfg, {"optim.accumulate": 2})
    assert estimate(found, found.cfg) == 48 * GIB and estimate(found, half) == 28 * GIB
    wide = changed(found.cfg, {"mesh.data": 1, "mesh.fsdp": 8})
    assert estimate(found, wide) == (2 + 40) * GIB


@pytest.mark.parametrize("data, fsdp", [(4, 2), (3, 2), (1, 8)])
def test_all_changes_use_the_same_devices(data, fsdp):
    found = forecast(config(), data=data, fsdp=fsdp)
    mesh = found.mesh.shape
    tried = list(candidates(found.cfg, mesh))
    sizes = [[changes.get(f"mesh.{axis}", n) for axis, n in mesh.items()] for changes in tried]
    assert {math.prod(size) for size in sizes} == {data * fsdp}
    fewer_rows = any("data.batch_rows" in changes for changes in tried)
    assert fewer_rows == (data != 3)  # whose 5 rows of a device do not divide


def test_changes_are_flags_that_the_config_takes():
    changes = {"optim.accumulate": 2, "compute.remat": "block"}
    assert as_flags(changes) == "--config.optim.accumulate=2 --config.compute.remat=block"
    assert changed(config(), changes).compute.remat == "block"
    with pytest.raises(ConfigError, match=r"optim\.accumulate"):
        changed(config(), {"optim.accumulate": 5})
